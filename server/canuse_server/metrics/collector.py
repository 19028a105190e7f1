"""The metrics of one process, collected from its parts at each scrape."""

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector as PrometheusCollector

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.environment import Environment
from canuse_server.metrics import definitions as d
from canuse_server.metrics.calls import CallCounts, CallFamilies, cumulated, fill_from_front
from canuse_server.metrics.census import Census
from canuse_server.metrics.decisions import DecisionMetrics
from canuse_server.runtime.counters import Histogram, ThreadHistograms
from canuse_server.store.redis import stats
from canuse_server.store.trimming.slices import DATA
from canuse_server.store.trimming.trimmer import Trimmer

MAX_SILENCE_SECONDS: Final = 5.0
"""Time without an answer after which the store counts as unavailable."""
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


@dataclass
class Sources:
    """What a scrape reads. Those that a process does not have are absent."""

    environments: Iterable[Environment] = ()
    transport: str = ""
    is_ready: Callable[[], bool] | None = None
    grpc_calls: CallCounts | None = None
    http_calls: CallCounts | None = None
    front: Callable[[], Mapping[str, Any] | None] = lambda: None
    """Returns the counts of the front of the native transport."""
    admission: AdmissionLimit | None = None
    batch_calls: ThreadHistograms[str] | None = None
    http_connections: Callable[[], int] | None = None
    decisions: DecisionMetrics | None = None
    census: Census | None = None
    trimmer: Trimmer | None = None
    now: Callable[[], float] = field(default=time.monotonic)


class Collector(PrometheusCollector):
    """Yields the metrics of a process."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Any]:
        """See prometheus_client: called at each scrape, in any thread."""
        yield from self._calls()
        if self._sources.decisions is not None:
            yield from self._sources.decisions.collect()
        yield from self._store()
        if self._sources.trimmer is not None and self._sources.trimmer.is_on:
            yield from self._trimming(self._sources.trimmer)
        yield from self._catalog()
        if self._sources.http_connections is not None:
            yield gauge(d.HTTP_CONNECTIONS, {(): self._sources.http_connections()})
        if not self._sources.transport:
            return
        yield gauge(d.BUILD, {(version("canuse"), self._sources.transport, platform.python_version()): 1})

    def _calls(self) -> Iterator[Any]:
        families = CallFamilies()
        in_flight: dict[tuple[str, ...], float] = {}
        if self._sources.grpc_calls is not None:
            self._sources.grpc_calls.fill(families, "grpc")
        if self._sources.http_calls is not None:
            self._sources.http_calls.fill(families, "http")
        if (front := self._sources.front()) is not None:
            in_flight[("lane",)] = fill_from_front(families, front)
        yield from families.collect()
        if self._sources.admission is not None:
            in_flight[("loop",)] = self._sources.admission.calls
            yield gauge(d.WAITING_BYTES, {(): self._sources.admission.size})
        yield gauge(d.CALLS_IN_FLIGHT, in_flight)
        if self._sources.batch_calls is not None:
            yield histogram(d.BATCH_CALLS, {(): self._sources.batch_calls.total()})

    def _store(self) -> Iterator[Any]:
        if self._sources.is_ready is not None:
            is_up = self._sources.is_ready() and self._catalog_age() < MAX_SILENCE_SECONDS
            yield gauge(d.STORE_UP, {(): int(is_up)})
        yield histogram(d.ROUND_TRIP, {(name,): total for name, total in stats.ROUND_TRIPS.totals().items()})
        events = CounterMetricFamily(d.STORE_EVENTS.name, d.STORE_EVENTS.meaning, labels=d.STORE_EVENTS.labels)
        for event, count in sorted(stats.EVENTS.totals().items()):
            events.add_metric((event,), count)
        yield events
        if (census := self._sources.census) is not None:
            yield gauge(d.USERS, {(name,): count for name, count in census.users.items()})
            yield gauge(d.LEDGER_EVENTS, {(name,): count for name, count in census.ledger_events.items()})

    def _catalog_age(self) -> float:
        """Return the time since the store last answered, which is asked for its catalogue each second."""
        now = self._sources.now()
        return min((now - env.cache.refreshed_at for env in self._sources.environments), default=0.0)

    @staticmethod
    def _trimming(trimmer: Trimmer) -> Iterator[Any]:
        trimmed = CounterMetricFamily(d.TRIMMED.name, d.TRIMMED.meaning, labels=d.TRIMMED.labels)
        for data in DATA:
            trimmed.add_metric((data,), trimmer.slices.trimmed[data])
        yield trimmed
        yield gauge(d.TRIM_AGE, {(): trimmer.age_seconds()})
        if trimmer.last_pass_seconds is not None:
            yield gauge(d.TRIM_PASS, {(): trimmer.last_pass_seconds})

    def _catalog(self) -> Iterator[Any]:
        caches = {(env.environment,): env.cache for env in self._sources.environments}
        yield gauge(d.CATALOG_VERSION, {labels: cache.version for labels, cache in caches.items()})
        now = self._sources.now()
        yield gauge(d.CATALOG_AGE, {labels: now - cache.refreshed_at for labels, cache in caches.items()})


def gauge(metric: d.Metric, values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    """Return a gauge with its values by labels."""
    family = GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def histogram(metric: d.Metric, values: Mapping[tuple[str, ...], Histogram]) -> HistogramMetricFamily:
    """Return a histogram with its values by labels."""
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, *cumulated(value))
    return family


def exposition(sources: Sources) -> bytes:
    """Return the metrics of a process as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(Collector(sources))
    ProcessCollector(registry=registry)
    return generate_latest(registry)
