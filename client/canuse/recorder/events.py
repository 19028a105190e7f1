"""Events of a recorder, and its errors."""

# ruff: noqa: N818 - the errors are named after what happened

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from canuse import v1
from canuse._arguments import bad_argument
from canuse.errors import Overloaded

MAX_AMOUNT: Final = 2**53 - 1
ID_BYTES: Final = 128
_ID: Final = f"a str of 1 to {ID_BYTES} bytes of UTF-8 without control characters"
_DELTA: Final = "an int from -(2^53 - 1) to 2^53 - 1 other than 0"


class RecorderFull(Overloaded):
    """The spool has as many events as it may, and none left in time. The event was not accepted."""


class SpoolInUse(RuntimeError):
    """Another recorder, perhaps of another process, has the spool open: each needs a folder of its own."""


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """An event that the server refused for good: it is not sent again."""

    user_id: str
    """The user."""
    feature_id: str
    """The feature."""
    delta: int
    """The amount, in the feature's units."""
    event_id: str
    """The idempotency key."""
    recorded_at: datetime
    """When `record` accepted it, by this machine's clock, in UTC."""
    reason: str
    """The reason, for programs: USER_NOT_FOUND, or REASON_NOT_ENTITLED if there is nothing to count against."""
    message: str
    """The reason, for people."""


class Event(NamedTuple):
    """An accepted event. `recorded_ms` is when it was accepted, in milliseconds since 1970."""

    user_id: str
    feature_id: str
    delta: int
    event_id: str
    recorded_ms: int

    def line(self) -> bytes:
        """Return it as a line of a journal."""
        return _encode(self).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Event | None":
        """Return the event of a line; None for one that was not written to its end."""
        try:
            values = json.loads(line)
            return cls(*values) if line.endswith(b"\n") else None
        except (ValueError, TypeError):
            return None

    def request(self) -> v1.CreateUsageEventRequest:
        """Return the request that records it."""
        return v1.CreateUsageEventRequest(
            user_id=self.user_id, feature_id=self.feature_id, delta=self.delta, event_id=self.event_id
        )


_encode: Final = json.JSONEncoder(ensure_ascii=True, check_circular=False, separators=(",", ":")).encode


def check_event(user_id: Any, feature_id: Any, delta: Any, event_id: Any) -> None:
    """Raise BadArgument for what no server accepts, so that it is not found out when nobody can correct it."""
    for name, value in (("user_id", user_id), ("feature_id", feature_id), ("event_id", event_id)):
        if not isinstance(value, str):
            raise bad_argument(name, value, _ID)
        # The fast check accepts most ids.
        plain = 0 < len(value) <= ID_BYTES and value.isascii() and value.isprintable()
        if not plain and not (value.isprintable() and 0 < _size(value) <= ID_BYTES):
            raise bad_argument(name, value, _ID)
    if not isinstance(delta, int) or isinstance(delta, bool) or not delta or abs(delta) > MAX_AMOUNT:
        raise bad_argument("delta", delta, _DELTA)


def _size(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 0
