"""Counters that are exact without a lock where they count: each thread has its own, and a reader adds them up."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class ThreadCounts(Generic[K]):
    """Counts by key. Keys must come from a bounded set."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._all: list[dict[K, int]] = []

    def own(self) -> dict[K, int]:
        """Return the counts of this thread, which only this thread may change."""
        try:
            counts: dict[K, int] = self._local.counts
        except AttributeError:
            counts = self._local.counts = {}
            self._all.append(counts)
        return counts

    def add(self, key: K, amount: int = 1) -> None:
        """Count a key."""
        counts = self.own()
        counts[key] = counts.get(key, 0) + amount

    def totals(self) -> Counter[K]:
        """Return the counts of all threads, also of those that have ended."""
        totals: Counter[K] = Counter()
        for counts in list(self._all):
            totals.update(counts.copy())
        return totals


class Histogram:
    """Counts of values by upper bound, for one thread."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """One for each bound, and one for greater values."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, other: "Histogram") -> None:
        """Add the counts of another one with the same bounds."""
        self.counts = [mine + others for mine, others in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


class ThreadHistograms(Generic[K]):
    """Histograms by key. Keys must come from a bounded set."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self._local = threading.local()
        self._all: list[dict[K, Histogram]] = []

    def own(self, key: K) -> Histogram:
        """Return the histogram of this thread, in which only this thread may count."""
        try:
            histograms: dict[K, Histogram] = self._local.histograms
        except AttributeError:
            histograms = self._local.histograms = {}
            self._all.append(histograms)
        histogram = histograms.get(key)
        if histogram is None:
            histogram = histograms[key] = Histogram(self.bounds)
        return histogram

    def observe(self, key: K, value: float) -> None:
        """Count a value."""
        self.own(key).observe(value)

    def total(self) -> Histogram:
        """Return the histograms of all keys, added up."""
        total = Histogram(self.bounds)
        for histogram in self.totals().values():
            total.add(histogram)
        return total

    def totals(self) -> dict[K, Histogram]:
        """Return the histograms of all threads, added up."""
        totals: dict[K, Histogram] = {}
        for histograms in list(self._all):
            for key, histogram in histograms.copy().items():
                totals.setdefault(key, Histogram(self.bounds)).add(histogram)
        return totals
