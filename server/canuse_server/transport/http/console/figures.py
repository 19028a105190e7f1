"""How often decisions are made: from the counts that metrics have, of this process."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from canuse_server.api.hotpath.decisions import DECISIONS, RATE_LIMIT_OVER_LIMIT
from canuse_server.transport.http.console.words import reason_words

MIN_SECONDS: Final = 1.0
"""Minimum time between two samples."""
WINDOW_SECONDS: Final = 60.0
"""Time over which a rate is shown, where somebody has looked that long ago."""
NO: Final = range(10, 20)
"""The numbers of the reasons that mean no."""


@dataclass(frozen=True)
class Sample:
    """The counts of one moment, by environment and the number of the reason."""

    moment: float
    counts: Counter[tuple[str, int]]


@dataclass(frozen=True)
class Rate:
    """Decisions within a time."""

    seconds: float
    yes: int
    no: int
    total: int
    """Since the server started."""
    refusals: list[tuple[str, int, int]]
    """Reasons for a no: in words, within the time, and since the server started; the most frequent ones first."""

    @property
    def per_second(self) -> float:
        """How many a second."""
        return (self.yes + self.no) / self.seconds if self.seconds else 0.0


def _sample() -> Sample:
    counts: Counter[tuple[str, int]] = Counter()
    for (environment, _, reason), count in DECISIONS.totals().items():
        counts[environment, reason] += count
    return Sample(time.monotonic(), counts)


def _is_no(reason: int) -> bool:
    return reason == RATE_LIMIT_OVER_LIMIT or reason in NO


def decisions_by_feature(environment: str) -> Counter[str]:
    """Return the number of decisions about each feature since this process started."""
    counts: Counter[str] = Counter()
    for (env, feature_id, _), count in DECISIONS.totals().items():
        if env == environment:
            counts[feature_id] += count
    return counts


class Rates:
    """Samples of the counts. They are taken when somebody looks, so that they cost nothing otherwise."""

    def __init__(self, take: Callable[[], Sample] = _sample) -> None:
        self._take = take
        self._samples = deque([take()])

    def rate(self, environment: str) -> Rate:
        """Return how many decisions there were in an environment, within the last minute if that is known."""
        now = self._take()
        while len(self._samples) > 1 and now.moment - self._samples[1].moment >= WINDOW_SECONDS:
            self._samples.popleft()
        before = self._samples[0]
        if now.moment - self._samples[-1].moment >= MIN_SECONDS:
            self._samples.append(now)
        grown, total = (
            {reason: n for (env, reason), n in counts.items() if env == environment}
            for counts in (now.counts - before.counts, now.counts)
        )
        refusals = sorted(
            ((reason_words(reason), grown.get(reason, 0), count) for reason, count in total.items() if _is_no(reason)),
            key=lambda each: (-each[1], -each[2]),
        )
        no = sum(count for reason, count in grown.items() if _is_no(reason))
        return Rate(
            max(now.moment - before.moment, MIN_SECONDS), sum(grown.values()) - no, no, sum(total.values()), refusals
        )
