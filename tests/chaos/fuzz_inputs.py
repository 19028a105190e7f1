"""Turns the bytes of a fuzzer into a method and a request: raw bytes, or a message filled field by field."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, cast

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

TEXTS: Final = (
    *(
        "124",
        "calls",
        "sso",
        "starter",
        "bonus",
        "canuse",
        "user_id",
        "feature_id",
        "live",
        "usage:write",
        "",
        " ",
        "x",
    ),
    *("x" * 128, "x" * 129, "é" * 64, "é" * 65, "\0", "\n", "\u2028", "124:calls", "{124}", "name", "user.name", "*"),
)
"""Texts with a meaning for the server, and texts that are often handled wrong."""
EXISTING_IDS: Final = {
    "user_id": "124",
    "feature_id": "calls",
    "package_id": "starter",
    "grant_id": "bonus",
    "domain": "canuse",
}
"""Ids of existing objects, by the names of the fields that refer to them."""
NUMBERS: Final = (0, 1, 2, 3, 5, 100, 1000, 1001, -1, -2, 2**31 - 1, -(2**31), 2**53 - 1, 2**53, -(2**53), 2**63 - 1)
RANGES: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
MAX_DEPTH: Final = 4
EXAMPLES: Final = 64


class Inputs:
    """Reads inputs for some methods, given by their paths."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = list(paths)

    def examples(self) -> Iterator[bytes]:
        """Yield the initial inputs: always the same bytes, short and long."""
        rng = random.Random(1)
        for number in range(EXAMPLES):
            yield rng.randbytes(8 * (number + 1))

    def read(self, provider: Any) -> tuple[str, bytes]:
        """Return the path of a method, and the bytes of a request."""
        path = provider.PickValueInList(self._paths)
        if provider.ConsumeIntInRange(0, 7) == 0:
            return path, provider.ConsumeBytes(1 << 16)
        message = GetMessageClass(method_of(path).input_type)()
        fill(message, provider, 0)
        payload = bytearray(message.SerializeToString())
        if payload and provider.ConsumeIntInRange(0, 7) == 0:  # Nearly a message.
            payload[provider.ConsumeIntInRange(0, len(payload) - 1)] = provider.ConsumeIntInRange(0, 255)
        return path, bytes(payload)


def method_of(path: str) -> MethodDescriptor:
    """Return the definition of a method."""
    service, _, name = path[1:].partition("/")
    method: MethodDescriptor = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    return method


def fill(message: Message, provider: Any, depth: int) -> None:
    """Set fields of a message to values of all kinds."""
    for field in cast("Iterable[FieldDescriptor]", message.DESCRIPTOR.fields):
        if provider.ConsumeIntInRange(0, 3) == 0:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for _ in range(provider.ConsumeIntInRange(0, 2)):
                getattr(message, field.name)[text(provider)] = text(provider)
        elif field.message_type is not None:
            if depth < MAX_DEPTH:
                fill_inner(message, field, provider, depth)
        elif field.is_repeated:
            getattr(message, field.name).extend(value(field, provider) for _ in range(provider.ConsumeIntInRange(0, 3)))
        else:
            setattr(message, field.name, value(field, provider))


def fill_inner(message: Message, field: FieldDescriptor, provider: Any, depth: int) -> None:
    """Set a field that is a message, or a list of messages."""
    inner = getattr(message, field.name)
    if field.is_repeated:
        for _ in range(provider.ConsumeIntInRange(0, 3)):
            fill(inner.add(), provider, depth + 1)
    else:
        inner.SetInParent()
        fill(inner, provider, depth + 1)


def text(provider: Any) -> str:
    """Return a text."""
    if provider.ConsumeIntInRange(0, 3):
        return str(provider.PickValueInList(list(TEXTS)))
    return str(provider.ConsumeUnicodeNoSurrogates(16))


def number(kind: int, provider: Any) -> int:
    """Return a number within the range of a field."""
    lowest, highest = RANGES[kind]
    if provider.ConsumeIntInRange(0, 3):
        return min(highest, max(lowest, int(provider.PickValueInList(list(NUMBERS)))))
    return int(provider.ConsumeIntInRange(lowest, highest))


def value(field: FieldDescriptor, provider: Any) -> object:
    """Return a value for a field that is not a message."""
    kind = field.cpp_type
    kinds: dict[int, Callable[[], object]] = {
        FieldDescriptor.CPPTYPE_BOOL: provider.ConsumeBool,
        FieldDescriptor.CPPTYPE_ENUM: lambda: provider.ConsumeIntInRange(0, 9),
        FieldDescriptor.CPPTYPE_DOUBLE: provider.ConsumeFloat,
        FieldDescriptor.CPPTYPE_FLOAT: provider.ConsumeFloat,
    }
    if kind in RANGES:
        return number(kind, provider)
    if kind in kinds:
        return kinds[kind]()
    if field.name in EXISTING_IDS and provider.ConsumeBool():
        return EXISTING_IDS[field.name]
    return provider.ConsumeBytes(16) if field.type == FieldDescriptor.TYPE_BYTES else text(provider)
