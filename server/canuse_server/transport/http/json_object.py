"""Reading a JSON object that a caller sends, strictly: what is wrong with it is said in the words of an API error."""

import json
from typing import Any

from canuse_server.api.errors import ApiError, invalid
from canuse_server.api.validation import shown


class _TwiceError(Exception):
    """An object has a field twice."""


def read_object(body: bytes, form: str) -> dict[str, Any]:
    """Return the fields of a JSON object, of which none is there twice; raise ApiError where it is no such object.

    `form`: what it should be, for the error: "a … as a JSON object".
    """
    if not body.strip():
        raise malformed(form, "nothing")
    try:
        found = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_no_number)
    except _TwiceError as error:
        raise invalid([(str(error), "must be sent once in an object; it was sent twice")]) from None
    except RecursionError:
        raise malformed(form, "something with too many levels") from None
    except ValueError as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise malformed(form, f"something that is no JSON{where}") from None
    if not isinstance(found, dict):
        raise malformed(form, kind(found))
    return found


def malformed(form: str, what: str) -> ApiError:
    """Return the error for a request that as a whole is something else than it should be."""
    return invalid([("request", f"must be {form}; {what} was sent")])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return found


def _no_number(text: str) -> None:
    raise ValueError(text)


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
