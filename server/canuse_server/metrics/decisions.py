"""Decisions by feature and reason, with a bounded number of features that have a label of their own."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily

from canuse.v1.reason_pb2 import Reason
from canuse_server.api.hotpath.decisions import DECISIONS, RATE_LIMIT_OK, RATE_LIMIT_OVER_LIMIT, WITHOUT_STORE
from canuse_server.metrics import definitions as d

OTHER: Final = "other"
_NAMES: Final[dict[int, str]] = {
    **{number: name.removeprefix("REASON_") for name, number in Reason.items()},
    RATE_LIMIT_OK: "RATE_LIMIT_OK",
    RATE_LIMIT_OVER_LIMIT: "RATE_LIMIT_OVER_LIMIT",
}


class FeatureLabels:
    """The labels of features: the first ones keep their ids, the others share one."""

    def __init__(self, max_features: int) -> None:
        self._max_features = max_features
        self._named: set[str] = set()

    def of(self, feature_id: str) -> str:
        """Return the label of a feature."""
        if len(self._named) < self._max_features:
            self._named.add(feature_id)
        return feature_id if feature_id in self._named else OTHER


class DecisionMetrics:
    """The metrics of decisions of this process. None: a worker, whose supervisor bounds the labels."""

    def __init__(self, max_features: int | None) -> None:
        self._label = str if max_features is None else FeatureLabels(max_features).of

    def collect(self) -> Iterator[Any]:
        """Yield the metrics."""
        totals: Counter[tuple[str, str, str]] = Counter()
        for (environment, feature_id, reason), count in DECISIONS.totals().items():
            totals[environment, self._label(feature_id), _reason_name(reason)] += count
        decisions = CounterMetricFamily(d.DECISIONS.name, d.DECISIONS.meaning, labels=d.DECISIONS.labels)
        for labels, count in sorted(totals.items()):
            decisions.add_metric(labels, count)
        yield decisions
        without_store = CounterMetricFamily(
            d.WITHOUT_STORE.name, d.WITHOUT_STORE.meaning, labels=d.WITHOUT_STORE.labels
        )
        for source, count in sorted(WITHOUT_STORE.totals().items()):
            without_store.add_metric((source,), count)
        yield without_store


def _reason_name(number: int) -> str:
    """Return the name of a reason without its prefix."""
    return _NAMES.get(number, str(number))
