"""Answers of canuse as HTTP says them: status codes and header fields, for any framework."""

from datetime import UTC, datetime, timedelta
from typing import Final

from canuse._denial import Decision
from canuse.answers import Consumption
from canuse.errors import BadArgument, CanuseError, DeadlineExceeded, Overloaded, Unavailable

__all__ = ["DENIED_STATUSES", "NO_ANSWER", "answer_headers", "denied_status", "error_headers"]

DENIED_STATUSES: Final = (402, 403, 429)
"""The status codes for a no: Payment Required, Forbidden, Too Many Requests."""
NO_ANSWER: Final = (Unavailable, DeadlineExceeded, Overloaded)
"""The errors of a service that does not answer at the moment: HTTP's 503, Service Unavailable."""
_SECOND: Final = timedelta(seconds=1)
_MAX_INTEGER: Final = 10**15 - 1
"""The largest integer of a structured field (RFC 9651)."""


def denied_status(status: int) -> int:
    """Return a status code for a no; BadArgument if it is none of 402, 403 and 429."""
    if status not in DENIED_STATUSES:
        raise BadArgument.of("status", f"{status!r} is not accepted; expected 402, 403 or 429")
    return status


def answer_headers(answer: Decision, *, now: datetime | None = None) -> dict[str, str]:
    """Return the header fields of an answer to a check, a use or a reservation.

    `RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers-10: the budget and the length
    of the period, then the units left and the seconds until they reset. The name of the policy is the feature's id;
    amounts are in the feature's units. A feature without a budget has neither field, and one that never resets no
    seconds. `Retry-After`, in seconds, is there for a no that time alone makes a yes.

    Args:
        answer: The answer, such as `Use.answer` or `AccessDenied.answer`.
        now: The present time. Default: that of this machine.
    """
    headers: dict[str, str] = {}
    consumption: Consumption | None = getattr(answer, "consumption", None)
    if consumption is not None and consumption.budget is not None and consumption.remaining is not None:
        name = _quoted(getattr(answer, "feature_id", "") or "default")
        policy = f"{name};q={min(consumption.budget, _MAX_INTEGER)}"
        limit = f"{name};r={min(consumption.remaining, _MAX_INTEGER)}"
        if consumption.resets_at is not None:
            policy += f";w={_seconds(consumption.resets_at - consumption.period_start)}"
            limit += f";t={_seconds(consumption.resets_at - (now or datetime.now(UTC)))}"
        headers = {"RateLimit-Policy": policy, "RateLimit": limit}
    retry_after: timedelta | None = getattr(answer, "retry_after", None)
    if retry_after is not None:
        headers["Retry-After"] = str(_seconds(retry_after))
    return headers


def error_headers(error: CanuseError) -> dict[str, str]:
    """Return `Retry-After`, in seconds, if the server asks for a delay before a retry."""
    if error.retry_after_seconds is None:
        return {}
    return {"Retry-After": str(_seconds(timedelta(seconds=error.retry_after_seconds)))}


def _seconds(length: timedelta) -> int:
    """Return whole seconds, rounded up, none of them negative."""
    return max(0, -(-length // _SECOND))


def _quoted(text: str) -> str:
    """Return a string of a structured field."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
