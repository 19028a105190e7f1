"""Past periods of a feature: how long they are kept, and how hours become days."""

from dataclasses import dataclass
from typing import Final

from model.observations import MAX, Past
from model.periods import DAY, WEEK

MAX_AGE: Final = 62 * DAY
"""How long a past period is kept after its end."""


@dataclass
class PastPeriod:
    """A period that is over, or a sum of such periods. `first` and `last` are their numbers."""

    first: int
    last: int
    start: int
    end: int
    used: int
    budget: int | None
    drawn: int
    overage: int
    summed: bool = False

    def view(self) -> Past:
        """Return it as the API shows it."""
        return Past(self.start, self.end, self.used, self.budget, self.drawn, self.overage, self.summed)


class PastPeriods:
    """The past periods of a feature, oldest first."""

    def __init__(self) -> None:
        self._found: list[PastPeriod] = []

    def add(self, number: int, start: int, end: int, used: int, budget: int | None, drawn: int) -> None:
        """Add a period that is over."""
        overage = 0 if budget is None else max(0, used - budget - drawn)
        self._found.append(PastPeriod(number, number, start, end, used, budget, drawn, overage))

    def kept(self, now: int) -> list[PastPeriod]:
        """Return those that are kept now. A week after its end, what is shorter than a day is added to its day."""
        summed: list[PastPeriod] = []
        for period in self._found:
            last = summed[-1] if summed else None
            if last is not None and can_be_added(last, now) and can_be_added(period, now) and same_day(last, period):
                summed[-1] = total(last, period)
            else:
                summed.append(period)
        self._found = [period for period in summed if now < period.end + MAX_AGE]
        return self._found

    def find(self, number: int, now: int) -> PastPeriod | None:
        """Return the period with a number, or the sum that it is part of; None if it is not kept."""
        return next((period for period in self.kept(now) if period.first <= number <= period.last), None)


def can_be_added(period: PastPeriod, now: int) -> bool:
    """Whether a period becomes part of the sum of a day."""
    return period.end + WEEK <= now and (period.summed or period.end - period.start < DAY)


def same_day(one: PastPeriod, other: PastPeriod) -> bool:
    """Whether two periods start on one day (UTC)."""
    return one.start // DAY == other.start // DAY


def total(one: PastPeriod, other: PastPeriod) -> PastPeriod:
    """Return the sum of two periods."""
    budget = None if one.budget is None or other.budget is None else min(MAX, one.budget + other.budget)
    return PastPeriod(
        one.first,
        other.last,
        min(one.start, other.start),
        max(one.end, other.end),
        min(MAX, one.used + other.used),
        budget,
        min(MAX, one.drawn + other.drawn),
        min(MAX, one.overage + other.overage),
        summed=True,
    )
