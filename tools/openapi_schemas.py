"""JSON schemas of the messages of the API, in protobuf's JSON mapping, with the comments of their definitions."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

from canuse_server.api.bounds import is_map, max_items, max_text_bytes

Schema = dict[str, Any]

REF: Final = "#/components/schemas/"
INT64: Final = "Int64"
_TEXT: Final[Schema] = {"type": "string"}
_SCALARS: Final[Mapping[int, Schema]] = {
    FieldDescriptor.CPPTYPE_STRING: _TEXT,
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "format": "int32", "minimum": -(1 << 31), "maximum": 2**31 - 1},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "format": "int64", "minimum": 0, "maximum": (1 << 32) - 1},
    FieldDescriptor.CPPTYPE_INT64: {"$ref": REF + INT64},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number", "format": "double"},
}
_WITH_OWN_FORM: Final[Mapping[str, Schema]] = {
    INT64: {
        "description": "An integer of 64 bits: a string in answers; requests may have a number as well.",
        "type": ["string", "integer"],
        "format": "int64",
        "pattern": "^-?(0|[1-9][0-9]{0,18})$",
        "minimum": -(1 << 63),
        "maximum": (1 << 63) - 1,
    },
    "google.protobuf.Timestamp": {
        "description": "A time.",
        "type": "string",
        "format": "date-time",
        "examples": ["2026-01-31T12:00:00Z"],
    },
    "google.protobuf.Duration": {
        "description": "A number of seconds.",
        "type": "string",
        "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$",
        "examples": ["3.5s"],
    },
    "google.protobuf.FieldMask": {
        "description": "Names of fields, separated by commas.",
        "type": "string",
        "examples": ["name,unitLabel"],
    },
    "google.protobuf.Any": {
        "description": "A message of the type that `@type` names, with its fields.",
        "type": "object",
        "properties": {"@type": _TEXT},
        "required": ["@type"],
    },
    "google.protobuf.UInt64Value": {
        "description": "A number of 64 bits without a sign.",
        "type": ["string", "integer"],
        "pattern": "^(0|[1-9][0-9]{0,19})$",
        "minimum": 0,
        "maximum": (1 << 64) - 1,
    },
}
"""Those that JSON has a form of its own for."""


def comments(files: FileDescriptorSet) -> dict[str, str]:
    """Return the comments of all definitions by full name. Lines of a paragraph are joined."""
    found: dict[str, str] = {}
    for file in files.file:
        names = dict(_names(file))
        for location in file.source_code_info.location:
            if (name := names.get(tuple(location.path))) and (text := unwrapped(location.leading_comments)):
                found[name] = text
    return found


def unwrapped(comment: str) -> str:
    """Return a comment with the lines of each paragraph joined."""
    return re.sub(r"(?<!\n)\n(?![\n-])", " ", re.sub(r"^ ", "", comment.strip("\n"), flags=re.MULTILINE)).strip()


def _names(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield the paths of definitions in a file, as its source info has them, and their full names."""
    for index, message in enumerate(file.message_type):
        yield from _names_in(message, (4, index), file.package)
    for index, enum in enumerate(file.enum_type):
        yield (5, index), f"{file.package}.{enum.name}"
        for number, value in enumerate(enum.value):
            yield (5, index, 2, number), f"{file.package}.{enum.name}.{value.name}"
    for index, service in enumerate(file.service):
        yield (6, index), f"{file.package}.{service.name}"
        for number, method in enumerate(service.method):
            yield (6, index, 2, number), f"{file.package}.{service.name}.{method.name}"


def _names_in(message: DescriptorProto, path: tuple[int, ...], scope: str) -> Iterator[tuple[tuple[int, ...], str]]:
    name = f"{scope}.{message.name}"
    yield path, name
    for index, field in enumerate(message.field):
        yield (*path, 2, index), f"{name}.{field.name}"
    for index, nested in enumerate(message.nested_type):
        yield from _names_in(nested, (*path, 3, index), name)
    for index, enum in enumerate(message.enum_type):
        yield (*path, 4, index), f"{name}.{enum.name}"
        for number, value in enumerate(enum.value):
            yield (*path, 4, index, 2, number), f"{name}.{enum.name}.{value.name}"
    for index, oneof in enumerate(message.oneof_decl):
        yield (*path, 8, index), f"{name}.{oneof.name}"


def schemas(inputs: Iterable[Descriptor], outputs: Iterable[Descriptor], about: Mapping[str, str]) -> dict[str, Schema]:
    """Return the schemas of messages, and of all that they contain, by name; `about` has the comments.

    What only answers contain requires the fields that answers always have.
    """
    sent, received = _reachable(inputs), _reachable(outputs)
    found: dict[str, Schema] = {INT64: _WITH_OWN_FORM[INT64]}
    for name, kind in {**sent, **received}.items():
        if name in _WITH_OWN_FORM:
            found[name] = _WITH_OWN_FORM[name]
        elif isinstance(kind, EnumDescriptor):
            found[name] = _enum(kind, about)
        else:
            found[name] = _message(kind, about, is_sent=name in sent)
    return dict(sorted(found.items()))


def _reachable(messages: Iterable[Descriptor]) -> dict[str, Descriptor | EnumDescriptor]:
    found: dict[str, Descriptor | EnumDescriptor] = {}
    waiting: list[Descriptor | EnumDescriptor] = list(messages)
    while waiting:
        kind = waiting.pop()
        if kind.full_name in found:
            continue
        if isinstance(kind, EnumDescriptor):
            found[kind.full_name] = kind
            continue
        if not kind.GetOptions().map_entry:
            found[kind.full_name] = kind
        if kind.full_name not in _WITH_OWN_FORM:
            waiting += [each for field in kind.fields if (each := field.message_type or field.enum_type)]
    return found


def _enum(kind: EnumDescriptor, about: Mapping[str, str]) -> Schema:
    values = [f"- `{value.name}`: {about.get(f'{kind.full_name}.{value.name}', '')}" for value in kind.values]
    text = "\n".join([about.get(kind.full_name, ""), "", *values]).strip()
    return {"description": text, "type": "string", "enum": [value.name for value in kind.values]}


def _message(kind: Descriptor, about: Mapping[str, str], *, is_sent: bool) -> Schema:
    paragraphs = [about.get(kind.full_name, "")]
    for oneof in kind.oneofs:
        if len(oneof.fields) > 1:
            names = ", ".join(f"`{field.json_name}`" for field in oneof.fields)
            paragraphs.append(f"At most one of {names} is there. {about.get(oneof.full_name, '')}".strip())
    shown: Schema = {"description": "\n\n".join(filter(None, paragraphs)), "type": "object"}
    shown["properties"] = {field.json_name: _field(field, about, is_sent=is_sent) for field in kind.fields}
    if not is_sent and (always := [field.json_name for field in kind.fields if not field.has_presence]):
        shown["required"] = always
    return {**shown, "additionalProperties": False}


def _field(field: FieldDescriptor, about: Mapping[str, str], *, is_sent: bool) -> Schema:
    text = about.get(field.full_name)
    shown: Schema = {} if text is None else {"description": text}
    if is_map(field):
        assert field.message_type is not None
        of_pair = field.message_type.fields_by_name["value"]
        pairs = {"type": "object", "additionalProperties": _item(of_pair, bounded=False)}
        return {**shown, **pairs, **_bound("maxProperties", max_items, field, is_sent=is_sent)}
    if field.is_repeated:
        items = {"type": "array", "items": _item(field, bounded=is_sent)}
        return {**shown, **items, **_bound("maxItems", max_items, field, is_sent=is_sent)}
    return {**shown, **_item(field, bounded=is_sent)}


def _item(field: FieldDescriptor, *, bounded: bool) -> Schema:
    kind = field.message_type or field.enum_type
    if kind is not None:
        return {"$ref": REF + kind.full_name}
    is_text = field.cpp_type == FieldDescriptor.CPPTYPE_STRING
    # Its bound is one of bytes: no valid text has more characters.
    bound = _bound("maxLength", max_text_bytes, field, is_sent=bounded) if is_text else {}
    return {**_SCALARS[field.cpp_type], **bound}


def _bound(keyword: str, bound: Callable[[FieldDescriptor], int], field: FieldDescriptor, *, is_sent: bool) -> Schema:
    try:
        return {keyword: bound(field)} if is_sent else {}
    except LookupError:
        return {}
