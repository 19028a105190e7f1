"""Counts of calls: those that the dispatcher answers, and those that the front of the native transport does."""

from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise
from typing import Any, Final

from grpc import StatusCode
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from canuse_server.api.dispatch import EndedCall
from canuse_server.metrics.definitions import CALL_SECONDS, CALLS
from canuse_server.runtime.counters import Histogram, ThreadCounts, ThreadHistograms

BOUNDS: Final = (0.0001, 0.0003, 0.0006, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the durations of calls in seconds, some of those of the front."""
_STATUS_NAMES: Final = {status.value[0]: status.name for status in StatusCode}


class CallCounts:
    """An Observer of one port that counts calls."""

    def __init__(self) -> None:
        self._ended: ThreadCounts[tuple[str, str]] = ThreadCounts()
        self._seconds: ThreadHistograms[str] = ThreadHistograms(BOUNDS)

    def call_ended(self, call: EndedCall) -> None:
        """See Observer."""
        self._ended.add((call.path, call.status.name))
        self._seconds.observe(call.path, call.seconds)

    def fill(self, families: "CallFamilies", port: str) -> None:
        """Add the counts to metrics."""
        for (path, status), count in self._ended.totals().items():
            families.add_calls(port, path, status, count)
        for path, histogram in self._seconds.totals().items():
            families.add_seconds(port, path, histogram)


class CallFamilies:
    """The metrics of calls of one scrape, by port, method and status."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str, str], int] = {}
        self._seconds: dict[tuple[str, str], Histogram] = {}

    def add_calls(self, port: str, path: str, status: str, count: int) -> None:
        """Add calls that have ended."""
        key = (port, path.removeprefix("/"), status)
        self._calls[key] = self._calls.get(key, 0) + count

    def add_seconds(self, port: str, path: str, histogram: Histogram) -> None:
        """Add durations."""
        self._seconds.setdefault((port, path.removeprefix("/")), Histogram(BOUNDS)).add(histogram)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        calls = CounterMetricFamily(CALLS.name, CALLS.meaning, labels=CALLS.labels)
        for labels, count in sorted(self._calls.items()):
            calls.add_metric(labels, count)
        yield calls
        seconds = HistogramMetricFamily(CALL_SECONDS.name, CALL_SECONDS.meaning, labels=CALL_SECONDS.labels)
        for port_and_path in sorted(self._seconds):
            seconds.add_metric(port_and_path, *cumulated(self._seconds[port_and_path]))
        yield seconds


def fill_from_front(families: CallFamilies, front: Mapping[str, Any]) -> int:
    """Add the counts of the front of the native transport; return the number of its calls in flight.

    The front counts outside of Python's lock. Calls that it forwards are under `other`; the dispatcher counts them.
    """
    places = [front["bounds"].index(bound) for bound in BOUNDS]
    in_flight = 0
    for path, method in front["methods"].items():
        if path == "other":
            continue
        in_flight += method["started"]
        total = Histogram(BOUNDS)
        for status, ended in method["status"].items():
            in_flight -= ended["count"]
            families.add_calls("grpc", path, _STATUS_NAMES[status], ended["count"])
            below = list(accumulate(ended["buckets"]))
            cuts = [0, *(below[place] for place in places), ended["count"]]
            part = Histogram(BOUNDS)
            part.counts = [high - low for low, high in pairwise(cuts)]
            part.sum = ended["sum"]
            total.add(part)
        if any(total.counts):
            families.add_seconds("grpc", path, total)
    return in_flight


def cumulated(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Return a histogram's buckets and sum, as Prometheus has them: each bucket contains the lower ones."""
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True)), histogram.sum
