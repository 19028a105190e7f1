"""How values are written on pages: numbers, times, durations."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def number(value: float) -> str:
    """Return a number with its thousands apart, and with decimals only if it is small."""
    if isinstance(value, int) or value >= 100:
        return f"{round(value):,}"
    return f"{value:,.1f}"


def moment(value: Timestamp | int) -> datetime:
    """Return a time of the API, or milliseconds since 1970, as a datetime in UTC."""
    if isinstance(value, int):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)
    return value.ToDatetime(UTC)


def date_time(value: Timestamp | int) -> str:
    """Return a time for people, in UTC; seconds only where it has some."""
    at = moment(value)
    return f"{at.day} {at:%b %Y, %H:%M}" + (f":{at:%S}" if at.second else "")


def date(value: Timestamp | int) -> str:
    """Return the date of a time for people, in UTC."""
    at = moment(value)
    return f"{at.day} {at:%b %Y}"


def day(value: Timestamp | int) -> str:
    """Return the day and the month of a time, in UTC."""
    at = moment(value)
    return f"{at.day} {at:%b}"


def iso(value: Timestamp | int) -> str:
    """Return a time for programs."""
    return moment(value).isoformat(timespec="milliseconds").replace("+00:00", "Z").replace(".000Z", "Z")


def duration(seconds: float) -> str:
    """Return a duration in its two largest units."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for name, size in _UNITS:
        count, rest = divmod(left, size)
        if count or parts or name == "s":
            parts.append(f"{count} {name}")
            left = rest
    return " ".join(part for part in parts[:2] if not part.startswith("0 ") or len(parts) == 1)


def until(value: Timestamp, now_ms: int) -> str:
    """Return how long it is until a time."""
    return duration((moment(value) - moment(now_ms)).total_seconds())


def seconds_of(value: Duration) -> float:
    """Return a duration of the API in seconds."""
    return value.ToTimedelta().total_seconds()
