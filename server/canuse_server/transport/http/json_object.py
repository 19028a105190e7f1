"""Reading a JSON object that a caller sends, strictly: what is wrong with it is said in the words of an API error."""

import json
import re
from itertools import islice
from typing import Any, Final

from canuse_server.api.errors import ApiError, invalid
from canuse_server.api.validation import shown
from canuse_server.runtime.thread_pauses import pause_if_due
from canuse_server.transport.http import json_in_steps

MAX_VALUES: Final = 400_000
"""Maximum number of values in a request of any kind: that of the largest catalogue, and some more."""
_QUOTE: Final = ord('"')
_NAME_LENGTH: Final = 128
_STRUCTURE: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[,\]}]', re.DOTALL)
"""A string, or what ends a value within an object or a list. It matches also a string without an end: a search that
went on within it would take time by the square of its length."""
_STEP: Final = 500
"""Number of fields or values between which is not paused."""
_STEP_BYTES: Final = 16 << 10


class _TwiceError(Exception):
    """An object has a field twice."""


def read_object(body: bytes, form: str, max_values: int = MAX_VALUES) -> dict[str, Any]:
    """Return the fields of a JSON object, of which none is there twice; raise ApiError where it is no such object.

    `form`: what it should be, for the error: "a … as a JSON object"; `max_values`: how many values it may have in all,
    which take time and many times their size in memory.
    """
    if not body.strip():
        raise malformed(form, "nothing")
    if _has_more_values(body, max_values):
        raise malformed(form, f"one with more than {max_values} values")
    try:
        found = json_in_steps.loads(body.decode(), _object, _no_number)
    except _TwiceError as error:
        raise invalid([(name_of(str(error)), "must be sent once in an object; it was sent twice")]) from None
    except RecursionError:
        raise malformed(form, "something with too many levels") from None
    except ValueError as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise malformed(form, f"something that is no JSON{where}") from None
    if not isinstance(found, dict):
        raise malformed(form, kind(found))
    return found


def check_plain(fields: dict[str, Any], form: str) -> None:
    """Raise ApiError where a value cannot be written as JSON again: half a character, or a number beyond all floats."""
    try:
        json_in_steps.check_plain(fields)
    except RecursionError:
        raise malformed(form, "something with too many levels") from None
    except ValueError:
        raise malformed(form, "one with half a character or too large a number") from None


def malformed(form: str, what: str) -> ApiError:
    """Return the error for a request that as a whole is something else than it should be."""
    return invalid([("request", f"must be {form}; {what} was sent")])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    repeated = None
    # Taken from the list in parts, and from what is refused one by one: to free 60,000 at once takes milliseconds.
    pairs.reverse()
    while pairs:
        part = pairs[: -_STEP - 1 : -1]
        del pairs[-_STEP:]
        for name, value in part:
            if repeated is None and name in found:
                repeated = name
            found[name] = value
        pause_if_due()
    if repeated is not None:
        while found:
            found.popitem()
        raise _TwiceError(repeated)
    return found


def _has_more_values(body: bytes, maximum: int) -> bool:
    ends = 0
    for start in range(0, len(body), _STEP_BYTES):
        ends += sum(body.count(end, start, start + _STEP_BYTES) for end in (b",", b"]", b"}"))
        pause_if_due()
    if ends <= maximum:
        return False
    # Now without those in strings.
    found = (True for match in _STRUCTURE.finditer(body) if body[match.start()] != _QUOTE)
    values = 0
    while step := sum(islice(found, _STEP)):
        values += step
        if values > maximum:
            return True
        pause_if_due()
    return False


def _no_number(text: str) -> None:
    raise ValueError(text)


def name_of(name: str) -> str:
    """Return the name of a field for an error: of valid Unicode, and not as long as a caller likes."""
    plain = name if is_unicode(name) else ascii(name)[1:-1]
    return plain if len(plain) <= _NAME_LENGTH else f"{plain[:_NAME_LENGTH]}…"


def is_unicode(text: str) -> bool:
    """Whether a text is more than code units: JSON can have half a surrogate pair."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def sent(value: Any) -> str:
    """Return a value for an error, shortened."""
    if isinstance(value, str) and not is_unicode(value):
        return ascii(value[:40])
    return kind(value) if value is None or isinstance(value, dict | list | bool) else shown(value)


def kind(value: Any) -> str:
    """Return what a value is in JSON."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return f"the {'string' if isinstance(value, str) else 'number'} {shown(value)}"
