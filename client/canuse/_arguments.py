"""Converts the arguments of the clients' methods to messages, and checks them. No I/O."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from reprlib import repr as shortened
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from canuse.errors import BadArgument

_M = TypeVar("_M", bound=Message)
_Converter = Callable[[str, Any], object]

REFUSED: Final = (TypeError, ValueError, OverflowError)
"""What a message raises for a value that it does not accept; `build` finds out for which field."""

MAX_SECONDS: Final = 366 * 24 * 60 * 60
"""gRPC ends a call at once if its timeout is some hundred years or infinite, and threads cannot wait that long."""

_SCALARS: Final[Mapping[int, str]] = {
    FieldDescriptor.CPPTYPE_STRING: "a str",
    FieldDescriptor.CPPTYPE_BOOL: "True or False",
    FieldDescriptor.CPPTYPE_INT32: "an int from -2^31 to 2^31 - 1",
    # Those of 64 bits are all bounded further, so that JSON can carry them.
    FieldDescriptor.CPPTYPE_INT64: "an int from -(2^53 - 1) to 2^53 - 1",
}


def optional(**values: object) -> dict[str, Any]:
    """Return the values that are not None: None stands for an omitted argument."""
    return {name: value for name, value in values.items() if value is not None}


def build(kind: type[_M], where: str = "", /, **values: object) -> _M:
    """Return a message with the given fields; BadArgument names the first invalid one, with the prefix `where`."""
    converters = _converters(kind)
    if None not in values.values() and converters.keys().isdisjoint(values):
        try:
            return kind(**values)
        except REFUSED:
            pass  # What follows finds out which field it is.
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            raise _refused(kind, where, name, value)
        convert = converters.get(name)
        fields[name] = value if convert is None else convert(where + _parameter(kind, name), value)
    try:
        return kind(**fields)
    except REFUSED:
        raise _first_invalid(kind, where, fields) from None


def timestamp(name: str, moment: object) -> Timestamp:
    """Return a time as a Timestamp. One without a time zone is refused: a guess would shift periods by hours."""
    if isinstance(moment, Timestamp):
        return moment
    if not isinstance(moment, datetime):
        raise bad_argument(name, moment, "a datetime with a time zone or a protobuf Timestamp")
    if moment.utcoffset() is None:
        raise BadArgument.of(name, f"{moment!r} has no time zone; use, for example, datetime.now(UTC)")
    result = Timestamp()
    try:
        result.FromDatetime(moment)
    except (OverflowError, ValueError):
        raise BadArgument.of(name, f"{moment!r} is outside the years 1 to 9999 of UTC") from None
    return result


def duration(name: str, length: object) -> Duration:
    """Return a duration as a Duration."""
    if isinstance(length, Duration):
        return length
    if not isinstance(length, timedelta):
        raise bad_argument(name, length, "a timedelta or a protobuf Duration")
    result = Duration()
    result.FromTimedelta(length)
    return result


def bad_argument(name: str, value: object, accepted: str) -> BadArgument:
    """Return the error for an argument of the wrong type or value."""
    actual = "None" if value is None else f"{shown(value)} of type {type(value).__name__}"
    return BadArgument.of(name, f"{actual} is not accepted; expected {accepted}")


def positive(name: str, seconds: Any) -> float:
    """Return a number of seconds; BadArgument unless it is above zero and at most `MAX_SECONDS`."""
    accepted = f"a number of seconds above 0 and at most {MAX_SECONDS}"
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise bad_argument(name, seconds, accepted)
    if not 0 < seconds <= MAX_SECONDS:
        raise BadArgument.of(name, f"{shown(seconds)} is not {accepted}")
    return float(seconds)


def shown(value: object) -> str:
    """Return a shortened representation of a value."""
    try:
        return shortened(value)
    except ValueError:  # Python does not convert an integer of more than 4300 digits.
        return "a number that is too large"


def _listed(name: str, values: Any) -> list[Any]:
    """Return the items of a repeated field. A string is refused: its characters would be sent as items."""
    if isinstance(values, str | bytes):
        raise bad_argument(name, values, f"a list, such as [{values!r}]")
    try:
        return list(values)
    except TypeError:
        raise bad_argument(name, values, "a list") from None


def _converters(kind: type[Message]) -> Mapping[str, _Converter]:
    return _converters_by_descriptor(kind.DESCRIPTOR)


@cache
def _converters_by_descriptor(descriptor: Any) -> Mapping[str, _Converter]:
    """Return the converters of the fields whose values protobuf would refuse or misread."""
    converters: dict[str, _Converter] = {}
    for name, field in descriptor.fields_by_name.items():
        if field.is_repeated and not _is_map(field):
            converters[name] = _listed
        elif field.message_type is Timestamp.DESCRIPTOR:
            converters[name] = timestamp
        elif field.message_type is Duration.DESCRIPTOR:
            converters[name] = duration
    return converters


def _first_invalid(kind: type[Message], where: str, fields: Mapping[str, Any]) -> BadArgument:
    """Return the error for the first field, or item of it, that protobuf refuses."""
    for name, value in fields.items():
        items = [[item] for item in value] if name in _converters(kind) and isinstance(value, list) else [value]
        for number, item in enumerate(items):
            try:
                kind(**{name: item})
            except REFUSED:
                if item is value:
                    return _refused(kind, where, name, value)
                return _refused(kind, where, name, item[0], f"[{number}]")
    raise AssertionError("protobuf accepts each field alone, but not all of them")


def _refused(kind: type[Message], where: str, name: str, value: object, item: str = "") -> BadArgument:
    return bad_argument(f"{where}{_parameter(kind, name)}{item}", value, _accepted(kind, name, bool(item)))


def _accepted(kind: type[Message], name: str, as_item: bool) -> str:
    """Describe what a field, or one item of it, accepts."""
    field: Any = kind.DESCRIPTOR.fields_by_name[name]
    if _is_map(field):
        return "a mapping of str to str"
    if field.enum_type is not None:
        accepted = f"a value of canuse.v1.{field.enum_type.name}, such as canuse.v1.{field.enum_type.values[1].name}"
    elif field.message_type is Timestamp.DESCRIPTOR:
        accepted = "a datetime with a time zone or a protobuf Timestamp"
    elif field.message_type is Duration.DESCRIPTOR:
        accepted = "a timedelta or a protobuf Duration"
    elif field.message_type is not None:
        accepted = f"a canuse.v1.{field.message_type.name}"
    else:
        accepted = _SCALARS[field.cpp_type]
    return f"a list, each item {accepted}" if field.is_repeated and not as_item else accepted


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _parameter(kind: type[Message], name: str) -> str:
    """Return the name of a field's argument: the `id` of a User is `user_id`."""
    return f"{kind.DESCRIPTOR.name.lower()}_id" if name == "id" else name
