"""Reset periods: `[start, end)` in UTC, counted from an anchor, which is the start of a subscription.

Hours, days and weeks have a fixed length. Months and years follow the calendar: each starts on the anchor's day of the
month, or on the last day of a month that is too short for it, and the anchor's day is not lost by that (31 January,
28 February, 31 March).
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
"""How far apart clocks may be, as after a failover: what is further ahead was made under a clock that ran ahead."""
FIXED_LENGTH_MS: Final = {ResetPeriod.HOUR: HOUR_MS, ResetPeriod.DAY: DAY_MS, ResetPeriod.WEEK: WEEK_MS}
"""The periods that a script can roll by itself, with their lengths."""
_FIXED_LENGTH_MS: Final = {int(reset_period): length_ms for reset_period, length_ms in FIXED_LENGTH_MS.items()}
CALENDAR_MONTHS: Final = {ResetPeriod.MONTH: 1, ResetPeriod.YEAR: 12}
"""The periods that follow the calendar, with their lengths in months."""

_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


class Period(NamedTuple):
    """The time from `start_ms`, inclusive, to `end_ms`, exclusive; None is no end."""

    start_ms: int
    end_ms: int | None


def period_at(anchor_ms: int, reset_period: ResetPeriod, at_ms: int) -> Period:
    """Return the period that a moment falls in; a moment before the anchor counts to the first period."""
    if reset_period == ResetPeriod.NEVER:
        return Period(anchor_ms, None)
    length_ms = FIXED_LENGTH_MS.get(reset_period)
    if length_ms is not None:
        start_ms = anchor_ms + max(0, at_ms - anchor_ms) // length_ms * length_ms
        return Period(start_ms, start_ms + length_ms)
    step = CALENDAR_MONTHS[reset_period]
    number = max(0, _months_between(anchor_ms, at_ms) // step)
    # The count of months by calendar pages is one too many where the day, or the time of day, is not reached yet.
    if number and months_after(anchor_ms, number * step) > at_ms:
        number -= 1
    return Period(months_after(anchor_ms, number * step), months_after(anchor_ms, (number + 1) * step))


def rolled(start_ms: int, end_ms: int, reset_period: int, at_ms: int) -> tuple[int, int]:
    """Return the bounds of the period that a moment falls in, by those of an earlier one; an end of -1 is never.

    Calendar periods do not roll.
    """
    if end_ms < 0 or at_ms < end_ms:
        return start_ms, end_ms
    length_ms = _FIXED_LENGTH_MS.get(reset_period)
    if length_ms is None:
        return start_ms, end_ms
    start_ms = at_ms - (at_ms - start_ms) % length_ms
    return start_ms, start_ms + length_ms


def months_after(anchor_ms: int, months: int) -> int:
    """Return the moment a number of calendar months after another, on the last day where the month is too short."""
    days, time_of_day_ms = divmod(anchor_ms, DAY_MS)
    anchor = date.fromordinal(_EPOCH_DAY + days)
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    day = min(anchor.day, monthrange(year, month + 1)[1])
    return (date(year, month + 1, day).toordinal() - _EPOCH_DAY) * DAY_MS + time_of_day_ms


def _months_between(anchor_ms: int, at_ms: int) -> int:
    anchor = date.fromordinal(_EPOCH_DAY + anchor_ms // DAY_MS)
    moment = date.fromordinal(_EPOCH_DAY + at_ms // DAY_MS)
    return (moment.year - anchor.year) * 12 + moment.month - anchor.month
