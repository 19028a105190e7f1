"""Starts and ends of periods, found by stepping through them one by one."""

from datetime import UTC, datetime, timedelta
from typing import Final

from canuse import v1

MILLISECOND: Final = timedelta(milliseconds=1)
HOUR: Final = timedelta(hours=1) // MILLISECOND
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
LENGTHS: Final = {v1.RESET_PERIOD_HOUR: HOUR, v1.RESET_PERIOD_DAY: DAY, v1.RESET_PERIOD_WEEK: WEEK}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def date_of(time: int) -> datetime:
    """Return milliseconds since 1970 as a date."""
    return EPOCH + time * MILLISECOND


def time_of(date: datetime) -> int:
    """Return a date as milliseconds since 1970."""
    return (date - EPOCH) // MILLISECOND


def period_at(anchor: int, reset: int, now: int) -> tuple[int, int | None]:
    """Return the start and the end of the period that contains a moment; before the anchor, the first one."""
    if reset == v1.RESET_PERIOD_NEVER:
        return anchor, None
    if reset in LENGTHS:
        length = LENGTHS[reset]  # type: ignore[index]
        number = max(0, now - anchor) // length
        return anchor + number * length, anchor + (number + 1) * length
    step = 12 if reset == v1.RESET_PERIOD_YEAR else 1
    number = 0
    while months_later(anchor, (number + 1) * step) <= now:
        number += 1
    return months_later(anchor, number * step), months_later(anchor, (number + 1) * step)


def months_later(anchor: int, months: int) -> int:
    """Return the same day and time in a later month, or on its last day if it has no such day."""
    date = date_of(anchor)
    pages = date.month - 1 + months
    year, month, day = date.year + pages // 12, pages % 12 + 1, date.day
    while True:
        try:
            return time_of(date.replace(year=year, month=month, day=day))
        except ValueError:
            day -= 1
