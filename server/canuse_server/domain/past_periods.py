"""Past periods: what was used in periods that are over, how long it is kept, and when it is summed into days."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from canuse_server.domain.model import MAX_AMOUNT
from canuse_server.domain.periods import DAY_MS, WEEK_MS, Period

SUMMED_AFTER_MS: Final = WEEK_MS
"""Time after its end at which a period shorter than a day becomes part of the sum of the day in which it started."""


class PastPeriod(NamedTuple):
    """A period that is over, or the sum of those that started on one day (UTC).

    `budget` is the package's limit, None is unlimited; `drawn` is the part of `used` drawn from grants.
    """

    period: Period
    used: int
    budget: int | None
    drawn: int
    summed_overage: int | None = None
    """Of a sum, the overage of its periods together. None: it is a single period."""

    def overage(self) -> int:
        """Return the amount used beyond the budget and the grants, in each of the periods of a sum."""
        if self.summed_overage is not None:
            return self.summed_overage
        return 0 if self.budget is None else max(0, self.used - self.budget - self.drawn)

    def end_ms(self) -> int:
        """Return the end."""
        assert self.period.end_ms is not None
        return self.period.end_ms

    def is_part(self) -> bool:
        """Whether it can be part of the sum of a day."""
        return self.summed_overage is not None or self.end_ms() - self.period.start_ms < DAY_MS

    def is_of_one_day(self, other: "PastPeriod") -> bool:
        """Whether it and the next one are parts of the sum of one day."""
        same_day = self.period.start_ms // DAY_MS == other.period.start_ms // DAY_MS
        return self.is_part() and other.is_part() and same_day

    def plus(self, other: "PastPeriod") -> "PastPeriod":
        """Return the sum of it and the next one."""
        unlimited = self.budget is None or other.budget is None
        return PastPeriod(
            Period(min(self.period.start_ms, other.period.start_ms), max(self.end_ms(), other.end_ms())),
            min(self.used + other.used, MAX_AMOUNT),
            None if unlimited else min((self.budget or 0) + (other.budget or 0), MAX_AMOUNT),
            min(self.drawn + other.drawn, MAX_AMOUNT),
            min(self.overage() + other.overage(), MAX_AMOUNT),
        )


def kept(past: Iterable[PastPeriod], now_ms: int, max_age_ms: int) -> list[PastPeriod]:
    """Return what is kept at a moment of stored past periods, oldest first.

    Scripts sum and drop periods only when they add one; this gives the result as if they did it at once.
    """
    found: list[PastPeriod] = []
    for item in past:
        last = found[-1] if found else None
        over = item.end_ms() + SUMMED_AFTER_MS <= now_ms
        if last is not None and over and last.end_ms() + SUMMED_AFTER_MS <= now_ms and last.is_of_one_day(item):
            found[-1] = last.plus(item)
        else:
            found.append(item)
    return [item for item in found if item.end_ms() + max_age_ms > now_ms]
