"""How many decisions there are in an environment, as pages show it."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from canuse_server.api.hotpath.decisions import RATE_LIMIT_OVER_LIMIT
from canuse_server.transport.http.console.words import reason_words
from canuse_server.transport.http.host import Decisions

NO: Final = range(10, 20)
"""The numbers of the reasons that mean no."""


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


def rate(decisions: Decisions, environment: str) -> Rate:
    """Return how many decisions there were in an environment."""
    recent = {reason: count for (env, reason), count in decisions.recent.items() if env == environment}
    total: Counter[int] = Counter()
    for (env, _, reason), count in decisions.total.items():
        if env == environment:
            total[reason] += count
    refusals = sorted(
        ((reason_words(reason), recent.get(reason, 0), count) for reason, count in total.items() if _is_no(reason)),
        key=lambda each: (-each[1], -each[2]),
    )
    no = sum(count for reason, count in recent.items() if _is_no(reason))
    return Rate(decisions.seconds, sum(recent.values()) - no, no, total.total(), refusals)


def by_feature(decisions: Decisions, environment: str) -> Counter[str]:
    """Return the number of decisions about each feature since the server started."""
    counts: Counter[str] = Counter()
    for (env, feature_id, _), count in decisions.total.items():
        if env == environment:
            counts[feature_id] += count
    return counts


def whose(decisions: Decisions) -> str:
    """Return in words whose decisions these are."""
    answered, processes = decisions.answered, decisions.processes
    if not processes:
        return "one process of this server: the others could not be asked"
    if answered < processes:
        return (
            f"this server, of whose {processes} processes only {answered} answered: the others count as they last did"
        )
    return "this server, which is one process" if processes == 1 else f"this server, all {processes} processes together"


def _is_no(reason: int) -> bool:
    return reason == RATE_LIMIT_OVER_LIMIT or reason in NO
