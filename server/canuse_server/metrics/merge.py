"""The metrics of workers, added up to those of one server."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector as PrometheusCollector

from canuse_server.metrics.collector import gauge
from canuse_server.metrics.decisions import FeatureLabels
from canuse_server.metrics.definitions import DECISIONS, METRICS, WORKERS

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and labels."""
MERGES: Final = {metric.name: metric.merge for metric in METRICS} | {
    "process_start_time_seconds": "min",
    "process_max_fds": "min",
}
"""How the values of workers become one, where they are not added up."""
_COMBINE: Final[Mapping[str, Callable[[Iterable[float]], float]]] = {"sum": sum, "max": max, "min": min}
ACCUMULATING: Final = ("counter", "histogram")


class WorkerMetrics:
    """Adds up the metrics of workers. What a worker has counted stays after its death: a counter never goes back."""

    def __init__(self, max_features: int) -> None:
        self._labels = FeatureLabels(max_features)
        self._last: dict[int, list[Metric]] = {}
        self._ended: list[Metric] = []

    def merged(self, workers: Mapping[int, bytes | None], own: bytes = b"") -> bytes:
        """Return the metrics of all workers that run, by process id, with the supervisor's own.

        Of a worker that does not answer (None) the last known ones are taken.
        """
        for pid in self._last.keys() - workers.keys():
            ended = (family for family in self._last.pop(pid) if family.type in ACCUMULATING)
            self._ended = list(_merge([*self._ended, *ended]))
        answered = {pid: text for pid, text in workers.items() if text is not None}
        self._last |= {pid: self._bounded(_parsed(text)) for pid, text in answered.items()}
        families = [*self._ended, *(family for families in self._last.values() for family in families), *_parsed(own)]
        registry = CollectorRegistry()
        registry.register(_Fixed([*_merge(families), gauge(WORKERS, {(): len(answered)})]))
        return generate_latest(registry)

    def _bounded(self, families: list[Metric]) -> list[Metric]:
        """Give the features beyond the bound one label; `_merge` adds their samples up."""
        for family in families:
            if family.name == DECISIONS.name:
                family.samples = [
                    sample._replace(labels=sample.labels | {"feature": self._labels.of(sample.labels["feature"])})
                    for sample in family.samples
                ]
        return families


class _Fixed(PrometheusCollector):
    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> Iterator[Any]:
        """See prometheus_client."""
        return iter(self._families)


def _parsed(exposition: bytes) -> list[Metric]:
    return list(text_string_to_metric_families(exposition.decode()))


def _merge(families: Iterable[Metric]) -> Iterator[Metric]:
    """Yield one family for those of the same name."""
    merged: dict[str, tuple[Metric, dict[Key, list[float]]]] = {}
    for family in families:
        _, samples = merged.setdefault(family.name, (family, {}))
        for sample in family.samples:
            samples.setdefault((sample.name, tuple(sorted(sample.labels.items()))), []).append(sample.value)
    for name, (family, samples) in merged.items():
        combine = _COMBINE[MERGES.get(name, "sum")]
        result = Metric(family.name, family.documentation, family.type)
        for (sample_name, labels), values in samples.items():
            result.add_sample(sample_name, dict(labels), combine(values))
        yield result
