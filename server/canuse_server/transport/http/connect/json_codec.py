"""Messages as JSON, by protobuf's rules for that; what is wrong with a request is said by the path of its field.

The library reads and writes the messages, long lists item by item, with pauses. It says only of the first mistake where
it is, in words of Python, so a request is looked through before it is read.
"""

import math
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from canuse_server.api.bounds import is_map, max_items
from canuse_server.api.errors import ApiError
from canuse_server.api.validation import Violations
from canuse_server.runtime.thread_pauses import pause_if_due
from canuse_server.transport.http.connect.field_names import error_in_json, item_of, results_in_json
from canuse_server.transport.http.json_in_steps import LARGE, dumps
from canuse_server.transport.http.json_object import (
    MAX_VALUES,
    is_unicode,
    kind,
    malformed,
    name_of,
    read_object,
    sent,
)

MANY: Final = 2
"""How many times the items that a list may have are read: the method itself says that there are too many. More would
take long to read."""
SPARE_VALUES: Final = 100
"""How many values beyond that a request may have, so that fields it does not have are named."""
STEP: Final = 8
"""Number of items of a list that are read at once."""
_INTEGERS: Final[Mapping[int, tuple[int, int]]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}
_INTEGER_TEXT: Final = re.compile(r"-?(0|[1-9][0-9]{0,19})")
_GOOGLE: Final = "google.protobuf."
_FORMS: Final[Mapping[str, str]] = {
    f"{_GOOGLE}Timestamp": 'a time like "2026-01-31T12:00:00Z"',
    f"{_GOOGLE}Duration": 'a number of seconds like "3.5s"',
    f"{_GOOGLE}FieldMask": 'names of fields like "name,unitLabel"',
}
"""What messages that have a form of their own in JSON look like."""


class JsonCodec:
    """The request and the answer of a method as JSON."""

    def __init__(self, request: Descriptor, answer: Descriptor) -> None:
        self._request = request
        self._form = f"a {request.full_name} as a JSON object"
        self._max_values = min(MANY * _max_values(request) + SPARE_VALUES, MAX_VALUES)
        self._answer = GetMessageClass(answer)
        self._item = item_of(request, answer)

    def decode(self, body: bytes) -> bytes:
        """Return a request in protobuf's wire format; raise ApiError that names what is wrong with it."""
        fields = read_object(body, self._form, self._max_values)
        found = Violations()
        for field, text in _violations(fields, self._request, ""):
            found.add(field, text)
        found.check()
        try:
            return _serialized(fields, self._request)
        except (ParseError, ValueError, TypeError):
            raise malformed(self._form, "something else") from None

    def named(self, error: ApiError) -> ApiError:
        """Return an error of the method with the names that its request has in JSON."""
        return error_in_json(error, self._request)

    def encode(self, answer: bytes) -> bytes:
        """Return an answer as JSON. Fields that can't be absent are there also where they are false, 0 or empty."""
        message = self._answer.FromString(answer)
        if self._item is not None:
            results_in_json(message, self._item)
        return dumps(_as_dict(message), large=len(answer) >= LARGE).encode()


def _serialized(fields: dict[str, Any], message: Descriptor) -> bytes:
    """Return an object without violations in protobuf's wire format, in which messages are merged by joining them."""
    known, kind = _fields(message), GetMessageClass(message)
    lists = {name: value for name, value in fields.items() if known[name].is_repeated and isinstance(value, list)}
    short = {name: value for name, value in fields.items() if name not in lists}
    parts = [ParseDict(short, kind()).SerializeToString()]
    for name, items in lists.items():
        for first in range(0, len(items), STEP):
            parts.append(ParseDict({name: items[first : first + STEP]}, kind()).SerializeToString())
            pause_if_due()
    return b"".join(parts)


def _as_dict(message: Message) -> dict[str, Any]:
    """Return a message as an object. Fields that can't be absent are there also where they are false, 0 or empty."""
    lists = [
        (field, items)
        for field, items in message.ListFields()
        if field.is_repeated and field.message_type is not None and not is_map(field)
    ]
    written = {field.json_name: list(map(_item_as_dict, items)) for field, items in lists}
    for field, _ in lists:
        message.ClearField(field.name)
    return {**MessageToDict(message, always_print_fields_with_no_presence=True), **written}


def _item_as_dict(item: Message) -> Any:
    pause_if_due()
    return MessageToDict(item, always_print_fields_with_no_presence=True)


def _violations(fields: dict[str, Any], message: Descriptor, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the path of each field with a mistake, as the caller wrote it, and what is wrong with it."""
    known, seen = _fields(message), dict[str, str]()
    for name, value in fields.items():
        path = f"{prefix}{name_of(name)}"
        field = known.get(name)
        if field is None:
            closest = get_close_matches(name[:64], [each.json_name for each in message.fields], n=1)
            meant = f"; did you mean {closest[0]!r}?" if closest else ""
            yield path, f"is not a field of {message.full_name}{meant}"
        elif field.name in seen:
            yield path, f"must be sent once; it was sent as {seen[field.name]!r} as well"
        elif value is not None:
            seen[field.name] = name
            if field.is_repeated:
                yield from _violations_of_many(value, field, path)
            else:
                yield from _violations_of_one(value, field, path)


def _max_values(message: Descriptor) -> int:
    """Return how many values a valid message of a type has at most, as JSON."""
    return sum(_max_values_of(field) for field in message.fields)


def _max_values_of(field: FieldDescriptor) -> int:
    if is_map(field):
        return 1 + max_items(field)
    message = field.message_type
    inner = 0 if message is None or message.full_name.startswith(_GOOGLE) else _max_values(message)
    return 1 + (max_items(field) if field.is_repeated else 1) * (1 + inner)


@cache
def _fields(message: Descriptor) -> dict[str, FieldDescriptor]:
    """Return the fields of a message by both their names."""
    return {name: field for field in message.fields for name in (field.name, field.json_name)}


def _violations_of_many(value: Any, field: FieldDescriptor, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict if is_map(field) else list):
        yield path, f"must be {'an object' if is_map(field) else 'a list'}; {kind(value)} was sent"
    elif len(value) > MANY * max_items(field):
        yield path, f"must be at most {max_items(field)}; {len(value)} were sent"
    elif isinstance(value, dict):
        assert field.message_type is not None
        of_pair = field.message_type.fields_by_name["value"]
        for key, item in value.items():
            if not is_unicode(key):
                yield path, f"must have keys of valid Unicode; {key[:40]!a} was sent"
            else:
                yield from _violations_of_one(item, of_pair, f"{path}.{name_of(key)}")
    else:
        for index, item in enumerate(value):
            yield from _violations_of_one(item, field, f"{path}[{index}]")


def _violations_of_one(value: Any, field: FieldDescriptor, path: str) -> Iterator[tuple[str, str]]:
    message = field.message_type
    pause_if_due()
    if message is None:
        if problem := _problem(value, field):
            yield path, problem
    elif message.full_name.startswith(_GOOGLE):
        try:
            ParseDict(value, GetMessageClass(message)())
        except (ParseError, ValueError, TypeError, AttributeError):
            form = _FORMS.get(message.full_name, f"a {message.full_name}")
            yield path, f"must be {form}; {sent(value)} was sent"
    elif isinstance(value, dict):
        yield from _violations(value, message, f"{path}.")
    else:
        yield path, f"must be an object; {kind(value)} was sent"


def _problem(value: Any, field: FieldDescriptor) -> str | None:
    """Return the problem with a value that is no message, or None."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        accepted, valid = "a string", isinstance(value, str) and is_unicode(value)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        accepted, valid = "true or false", isinstance(value, bool)
    elif field.enum_type is not None:
        accepted, valid = f"a name of {field.enum_type.full_name}", _is_enum(value, field.enum_type)
    elif field.cpp_type in _INTEGERS:
        lowest, highest = _INTEGERS[field.cpp_type]
        number = _integer(value)
        accepted = f"an integer from {lowest} to {highest}, as a number or a string"
        valid = number is not None and lowest <= number <= highest
    else:
        accepted, valid = "a number", isinstance(value, int | float) and not isinstance(value, bool)
    return None if valid else f"must be {accepted}; {sent(value)} was sent"


def _is_enum(value: Any, kind: EnumDescriptor) -> bool:
    if isinstance(value, str):
        return value in kind.values_by_name
    lowest, highest = _INTEGERS[FieldDescriptor.CPPTYPE_INT32]
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


def _integer(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if _INTEGER_TEXT.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        return None
    return int(value)
