"""Times in milliseconds, and the periods in which uses are counted."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from canuse import v1

_MILLISECOND: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_MS: Final = 3_600_000
_LENGTHS_MS: Final = {
    v1.RESET_PERIOD_HOUR: _HOUR_MS,
    v1.RESET_PERIOD_DAY: 24 * _HOUR_MS,
    v1.RESET_PERIOD_WEEK: 7 * 24 * _HOUR_MS,
}


def in_ms(message: Timestamp) -> int:
    """Return a Timestamp as milliseconds since 1970."""
    return message.seconds * 1000 + message.nanos // 1_000_000


def as_timestamp(time_ms: int) -> Timestamp:
    """Return milliseconds since 1970 as a Timestamp."""
    return Timestamp(seconds=time_ms // 1000, nanos=time_ms % 1000 * 1_000_000)


def as_datetime(time_ms: int) -> datetime:
    """Return milliseconds since 1970 as a datetime in UTC."""
    return _EPOCH + time_ms * _MILLISECOND


def period_at(anchor: int, reset: int, now: int) -> tuple[int, int | None]:
    """Return the start and the end of the period that contains a moment; before the anchor, the first one."""
    if reset in (v1.RESET_PERIOD_UNSPECIFIED, v1.RESET_PERIOD_NEVER):
        return anchor, None
    length = _LENGTHS_MS.get(reset)  # type: ignore[call-overload]
    if length is not None:
        start = anchor + max(0, now - anchor) // length * length
        return start, start + length
    step = 12 if reset == v1.RESET_PERIOD_YEAR else 1
    begun, current = as_datetime(anchor), as_datetime(max(anchor, now))
    number = ((current.year - begun.year) * 12 + current.month - begun.month) // step
    if _months_later(begun, number * step) > current:
        number -= 1
    ends = (_months_later(begun, each * step) for each in (number, number + 1))
    start, end = ((moment - _EPOCH) // _MILLISECOND for moment in ends)
    return start, end


def _months_later(moment: datetime, months: int) -> datetime:
    """Return the same day and time in a later month, or on its last day if it has no such day."""
    pages = moment.month - 1 + months
    year, month = moment.year + pages // 12, pages % 12 + 1
    return moment.replace(year=year, month=month, day=min(moment.day, monthrange(year, month)[1]))
