"""Reset periods: `[start, end)` in UTC, counted from an anchor, the start of a subscription.

Hours, days and weeks have a fixed length. Months and years follow the calendar: a period starts on the anchor's day of
the month, or on the last day of a shorter month, and later periods keep the anchor's day (31 January, 28 February,
31 March).
"""

from calendar import monthrange
from datetime import date
from typing import Final, NamedTuple

from canuse_server.domain.model import ResetPeriod

SECOND_MS: Final = 1000
HOUR_MS: Final = 3_600 * SECOND_MS
DAY_MS: Final = 24 * HOUR_MS
WEEK_MS: Final = 7 * DAY_MS
CLOCKS_DIFFER_MS: Final = HOUR_MS
"""Accepted difference of clocks, such as after a failover. Data further ahead came from a clock that was wrong."""
FIXED_LENGTH_MS: Final = {ResetPeriod.HOUR: HOUR_MS, ResetPeriod.DAY: DAY_MS, ResetPeriod.WEEK: WEEK_MS}
"""Lengths of the periods that scripts compute by arithmetic."""
_FIXED_LENGTH_MS: Final = {int(reset_period): length_ms for reset_period, length_ms in FIXED_LENGTH_MS.items()}
CALENDAR_MONTHS: Final = {ResetPeriod.MONTH: 1, ResetPeriod.YEAR: 12}
"""Lengths of the calendar periods in months."""

_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


class Period(NamedTuple):
    """The time from `start_ms`, inclusive, to `end_ms`, exclusive; None means no end."""

    start_ms: int
    end_ms: int | None


def period_at(anchor_ms: int, reset_period: ResetPeriod, at_ms: int) -> Period:
    """Return the period that contains a moment; a moment before the anchor belongs to the first period."""
    if reset_period == ResetPeriod.NEVER:
        return Period(anchor_ms, None)
    length_ms = FIXED_LENGTH_MS.get(reset_period)
    if length_ms is not None:
        start_ms = anchor_ms + max(0, at_ms - anchor_ms) // length_ms * length_ms
        return Period(start_ms, start_ms + length_ms)
    step = CALENDAR_MONTHS[reset_period]
    number = max(0, _months_between(anchor_ms, at_ms) // step)
    # The difference of the months is one too many if the day or the time of day is not reached yet.
    if number and months_after(anchor_ms, number * step) > at_ms:
        number -= 1
    return Period(months_after(anchor_ms, number * step), months_after(anchor_ms, (number + 1) * step))


def rolled(start_ms: int, end_ms: int, reset_period: int, at_ms: int) -> tuple[int, int]:
    """Return the bounds of the period that contains a moment, from the bounds of an earlier one; end -1 means no end.

    For calendar periods the given bounds are returned.
    """
    if end_ms < 0 or at_ms < end_ms:
        return start_ms, end_ms
    length_ms = _FIXED_LENGTH_MS.get(reset_period)
    if length_ms is None:
        return start_ms, end_ms
    start_ms = at_ms - (at_ms - start_ms) % length_ms
    return start_ms, start_ms + length_ms


def months_after(anchor_ms: int, months: int) -> int:
    """Return a moment plus a number of calendar months, on the last day of the month if that is too short."""
    days, time_of_day_ms = divmod(anchor_ms, DAY_MS)
    anchor = date.fromordinal(_EPOCH_DAY + days)
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    day = min(anchor.day, monthrange(year, month + 1)[1])
    return (date(year, month + 1, day).toordinal() - _EPOCH_DAY) * DAY_MS + time_of_day_ms


def _months_between(anchor_ms: int, at_ms: int) -> int:
    anchor = date.fromordinal(_EPOCH_DAY + anchor_ms // DAY_MS)
    moment = date.fromordinal(_EPOCH_DAY + at_ms // DAY_MS)
    return (moment.year - anchor.year) * 12 + moment.month - anchor.month
