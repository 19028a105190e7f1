"""The counts of decisions of the last minute, so that somebody who looks sees how many there are now."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from canuse_server.api.hotpath.decisions import DECISIONS, Decision
from canuse_server.transport.http.host import Decisions

WINDOW_SECONDS: Final = 60.0
"""Time over which recent decisions are counted, where somebody has looked that long ago."""
MIN_SECONDS: Final = 5.0
"""Time below which too few decisions are counted to say how many there are a second."""
MIN_INTERVAL_SECONDS: Final = 1.0
"""Minimum time between two samples."""


class Sample(NamedTuple):
    """The counts of one moment, by environment and number of the reason."""

    moment: float
    counts: Counter[tuple[str, int]]


class History:
    """Samples of the counts. They are taken when somebody looks, so that they cost nothing otherwise."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._samples = deque([Sample(self._began, Counter())])

    def seen(self, total: Counter[Decision], answered: int, processes: int) -> Decisions:
        """Return what is known now that the counts of so many processes have been read."""
        now = Sample(self._clock(), _by_reason(total))
        before = self._before(now.moment)
        if now.moment - self._samples[-1].moment >= MIN_INTERVAL_SECONDS:
            self._samples.append(now)
        return Decisions(
            answered=answered,
            processes=processes,
            since_seconds=now.moment - self._began,
            total=total,
            seconds=max(now.moment - before.moment, MIN_INTERVAL_SECONDS),
            recent=now.counts - before.counts,
        )

    def _before(self, moment: float) -> Sample:
        """Return the oldest sample of the last minute; the last one before, if that has none or only newest ones."""
        while len(self._samples) > 1 and moment - self._samples[1].moment > WINDOW_SECONDS:
            self._samples.popleft()
        first, *others = self._samples
        recent = [first, *others] if moment - first.moment <= WINDOW_SECONDS else others
        return next((each for each in recent if moment - each.moment >= MIN_SECONDS), first)


def _by_reason(total: Mapping[Decision, int]) -> Counter[tuple[str, int]]:
    counts: Counter[tuple[str, int]] = Counter()
    for (environment, _, reason), count in total.items():
        counts[environment, reason] += count
    return counts


class OwnDecisions:
    """The decisions of a server that is this process alone."""

    def __init__(self) -> None:
        self._history = History()

    async def read(self) -> Decisions:
        """Return them."""
        return self._history.seen(DECISIONS.totals(), 1, 1)
