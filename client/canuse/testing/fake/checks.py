"""Checks of requests to the service in memory: the bounds that the API documents."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from canuse.testing.fake.refusal import invalid

MAX_AMOUNT: Final = 2**53 - 1
ID_BYTES: Final = 128
EVENT_ID: Final = "event_id"
TEXT_BYTES: Final = 256
PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 1000
_TEXTS: Final = ("name", "email", "billing_id", "unit_label", "unit_label_plural", "note")

_T = TypeVar("_T")
_Page = TypeVar("_Page")


def check(message: Message, where: str = "", *, ids: Iterable[str] = ()) -> None:
    """Raise INVALID_FIELD if an id or a text of a message is out of bounds."""
    fields = message.DESCRIPTOR.fields_by_name
    found = [(f"{where}{name}", _id_problem(getattr(message, name))) for name in ids]
    found += [
        (f"{where}{name}", _text_problem(getattr(message, name), 0, TEXT_BYTES)) for name in _TEXTS if name in fields
    ]
    if EVENT_ID in fields:
        found.append((f"{where}event_id", _text_problem(getattr(message, EVENT_ID), 0, ID_BYTES)))
    violations = [(field, problem) for field, problem in found if problem]
    if violations:
        raise invalid(*violations)


def amount(field: str, value: int, minimum: int = 1) -> int:
    """Return an amount; INVALID_FIELD if it is out of bounds."""
    if not minimum <= value <= MAX_AMOUNT:
        raise invalid((field, f"must be {minimum} to 2^53 - 1; {value} was sent"))
    return value


def apply_mask(old: Any, request: Any, name: str, fields: Iterable[str]) -> Any:
    """Return a resource with the fields that an update changes; INVALID_FIELD for one that cannot change."""
    new = type(old)()
    new.CopyFrom(old)
    for path in request.update_mask.paths:
        if path not in fields:
            raise invalid(("update_mask", f"must be of {', '.join(fields)}; {path!r} was sent"))
        new.ClearField(path)
        source = getattr(request, name)
        partial = type(old)()
        partial.CopyFrom(source)
        for other in partial.DESCRIPTOR.fields:
            if other.name != path:
                partial.ClearField(other.name)
        new.MergeFrom(partial)
    return new


def page(request: Any, items: Iterable[_T], answer: Callable[[list[_T], str], _Page]) -> _Page:
    """Return the page of a list that a request asks for; `answer` builds the response."""
    size = request.page_size or PAGE_SIZE
    if not 1 <= size <= MAX_PAGE_SIZE:
        raise invalid(("page_size", f"must be 1 to {MAX_PAGE_SIZE}; {size} was sent"))
    start, found = int(request.page_token or 0), list(items)
    rest = str(start + size) if start + size < len(found) else ""
    return answer(found[start : start + size], rest)


def _id_problem(value: str) -> str:
    return _text_problem(value, 1, ID_BYTES)


def _text_problem(value: str, minimum: int, maximum: int) -> str:
    size = len(value.encode())
    if minimum <= size <= maximum and value.isprintable():
        return ""
    return f"must be {minimum} to {maximum} bytes of UTF-8 without control characters; {size} bytes were sent"


def named(kind: Any, value: int, field: str) -> None:
    """Raise INVALID_FIELD for the unspecified or an unknown value of an enum."""
    if value <= 0 or value not in kind.values():
        raise invalid((field, f"must be a value of canuse.v1.{kind.DESCRIPTOR.name}; {value} was sent"))
