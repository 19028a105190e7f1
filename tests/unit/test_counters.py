"""Counters that threads have for themselves, added up by a reader; and workers' metrics, added up by a supervisor."""

import threading

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from canuse_server.metrics.merge import WorkerMetrics
from canuse_server.runtime.counters import Histogram, ThreadCounts, ThreadHistograms

BOUNDS = (1.0, 2.0, 5.0)


def test_no_count_is_lost_between_threads() -> None:
    counts: ThreadCounts[str] = ThreadCounts()
    histograms: ThreadHistograms[str] = ThreadHistograms(BOUNDS)

    def count() -> None:
        for _ in range(1000):
            counts.add("a")
            histograms.observe("b", 1.5)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.totals() == {"a": 8000}
    assert histograms.totals()["b"].counts == [0, 8000, 0, 0]
    assert histograms.total().sum == 12_000


@given(values=st.lists(st.floats(0, 10)))
def test_a_histogram_counts_each_value_under_the_first_bound_that_holds_it(values: list[float]) -> None:
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.observe(value)
    expected = [sum(low < value <= high for value in values) for low, high in ((-1, 1), (1, 2), (2, 5), (5, 11))]
    assert histogram.counts == expected


def exposition(calls: int, up: int) -> bytes:
    """Return what a worker tells."""
    return (
        f'# TYPE canuse_calls_total counter\ncanuse_calls_total{{port="grpc"}} {calls}\n'
        f"# TYPE canuse_store_up gauge\ncanuse_store_up {up}\n"
        f"# TYPE canuse_waiting_bytes gauge\ncanuse_waiting_bytes {calls}\n"
    ).encode()


def merged(totals: WorkerMetrics, workers: dict[int, bytes | None]) -> dict[str, float]:
    """Return the values after a scrape."""
    families = text_string_to_metric_families(totals.merged(workers).decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_counters_of_workers_are_added_up_and_never_go_back() -> None:
    totals = WorkerMetrics(100)
    first = merged(totals, {1: exposition(10, 1), 2: exposition(20, 1)})
    assert first == {"canuse_calls_total": 30, "canuse_store_up": 1, "canuse_waiting_bytes": 30, "canuse_workers": 2}
    # The first has died; the one in its place has another process id.
    assert merged(totals, {2: exposition(25, 0)}) == {
        "canuse_calls_total": 35,
        "canuse_store_up": 0,
        "canuse_waiting_bytes": 25,
        "canuse_workers": 1,
    }
    assert merged(totals, {2: exposition(25, 1), 3: exposition(1, 1)})["canuse_calls_total"] == 36
    # One that does not answer for a moment is not counted twice afterwards.
    assert merged(totals, {2: None, 3: exposition(1, 1)})["canuse_calls_total"] == 36
    assert merged(totals, {2: exposition(25, 1), 3: exposition(1, 1)})["canuse_calls_total"] == 36
    assert merged(totals, {3: exposition(2, 1)})["canuse_calls_total"] == 37


def test_features_beyond_the_bound_share_a_label_in_all_workers() -> None:
    def told(*features: str) -> bytes:
        samples = (f'canuse_decisions_total{{feature="{feature}",reason="UNLIMITED"}} 1' for feature in features)
        return "\n".join(("# TYPE canuse_decisions_total counter", *samples, "")).encode()

    totals = WorkerMetrics(1)
    for _ in range(2):
        text = totals.merged({1: told("a", "b"), 2: told("c", "a")}).decode()
        values = {
            sample.labels["feature"]: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "canuse_decisions_total"
        }
        assert values == {"a": 2, "other": 2}
