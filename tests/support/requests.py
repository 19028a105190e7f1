"""Requests of all methods generated from their descriptors: the largest valid ones, and ones with too many items."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from canuse.testing.v1 import clock_service_pb2, store_service_pb2
from canuse.v1 import (
    api_key_service_pb2,
    audit_service_pb2,
    catalog_service_pb2,
    entitlement_service_pb2,
    subscription_service_pb2,
    usage_service_pb2,
    user_service_pb2,
)
from canuse_server.api.bounds import is_map, max_items, max_map_bytes, max_text_bytes
from canuse_server.envoy import rate_limit_service_pb2

_FILES: Final = (
    entitlement_service_pb2,
    usage_service_pb2,
    catalog_service_pb2,
    user_service_pb2,
    subscription_service_pb2,
    api_key_service_pb2,
    audit_service_pb2,
    rate_limit_service_pb2,
    clock_service_pb2,
    store_service_pb2,
)
METHODS: Final[dict[str, MethodDescriptor]] = {
    f"/{service.full_name}/{method.name}": method
    for file in _FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""All methods of the server by path."""

AS_A_WHOLE: Final = frozenset({"/canuse.v1.CatalogService/ApplyCatalog"})
"""Methods whose requests are bounded as a whole: with all fields at their bounds they would be too large."""

_UNSIGNED: Final[dict[int, int]] = {
    FieldDescriptorProto.TYPE_UINT32: 1 << 32,
    FieldDescriptorProto.TYPE_UINT64: 1 << 64,
}


UNKNOWN_TAG: Final = b"\xfa\x7f"
DIFFERENT_KEYS: Final = 30_000


class FieldPath(NamedTuple):
    """A field of a request, with the message fields that lead to it."""

    path: str
    """The path of the method."""
    steps: tuple[FieldDescriptor, ...]

    @property
    def field(self) -> FieldDescriptor:
        """The field itself."""
        return self.steps[-1]

    @property
    def name(self) -> str:
        """Its name in errors; for repeated fields on the way, the first item."""
        parts = [step.name + ("[0]" if step.is_repeated else "") for step in self.steps[:-1]]
        return ".".join([*parts, self.field.name])

    def __str__(self) -> str:
        """Return the test id."""
        return f"{self.path.rpartition('/')[2]}.{self.name}"

    def filled(self, items: int, other: bytes = b"") -> bytes:
        """Return a request with so many empty items in this field, or map entries with as many different keys.

        `other` are further fields of the request.
        """
        different = min(items, DIFFERENT_KEYS) if is_map(self.field) else 1
        block = b"".join(map(self._item, range(different)))
        payload = block * (items // different) + block[: items % different * len(self._item(0))]
        for step in reversed(self.steps[:-1]):
            payload = _tag(step) + _varint(len(payload)) + payload
        return other + payload

    def flood(self, size: int, other: bytes = b"") -> bytes:
        """Return a request of about, and at most, so many bytes with nothing but items in this field."""
        around = 6 * len(self.steps) + len(other)
        return self.filled((size - around) // len(self._item(0)), other)

    def _item(self, number: int) -> bytes:
        content = b"\x0a\x06%06d" % number if is_map(self.field) else b""
        return _tag(self.field) + _varint(len(content)) + content


def field_paths() -> Iterator[FieldPath]:
    """Yield every field of every request, including those of nested messages; a map is one field."""
    for path, method in METHODS.items():
        for steps in _steps(method.input_type):
            yield FieldPath(path, steps)


def _steps(message: Descriptor) -> Iterator[tuple[FieldDescriptor, ...]]:
    for field in message.fields:
        yield (field,)
        if field.message_type is not None and not is_map(field):
            for rest in _steps(field.message_type):
                yield (field, *rest)


def largest(message: Descriptor, number: int, index: int = 0) -> Message:
    """Return the largest valid message of a type; all its numbers are equal, and its texts begin with their index."""
    built = GetMessageClass(message)()
    for field in message.fields:
        if is_map(field):
            size = max_map_bytes(field) // max_items(field) // 2
            pairs = {f"{index:02}".ljust(size, "x"): "y" * size for index in range(max_items(field))}
            getattr(built, field.name).update(pairs)
        elif field.is_repeated:
            getattr(built, field.name).extend(_value(field, number, index) for index in range(max_items(field)))
        elif field.message_type is not None:
            getattr(built, field.name).CopyFrom(_value(field, number, index))
        else:
            setattr(built, field.name, _value(field, number, index))
    return built


def _value(field: FieldDescriptor, number: int, index: int) -> Any:
    if field.message_type is not None:
        return largest(field.message_type, number, index)
    if field.type == FieldDescriptorProto.TYPE_STRING:
        return f"{index:04}".ljust(max_text_bytes(field), "x")
    if field.type == FieldDescriptorProto.TYPE_BOOL:
        return True
    return number % _UNSIGNED[field.type] if field.type in _UNSIGNED else number


def unknown(size: int, fill: bytes = b"x") -> bytes:
    """Return so many bytes that are one text field unknown to every request."""
    length = size - len(UNKNOWN_TAG) - 4
    # Encoded in four bytes, although it could be shorter.
    said = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14 & 0x7F | 0x80, length >> 21])
    return UNKNOWN_TAG + said + fill * length


def in_batch(item: bytes) -> bytes:
    """Return an item as it is encoded in a batch, where `requests` has the number 1."""
    return b"\x0a" + _varint(len(item)) + item


def _tag(field: FieldDescriptor) -> bytes:
    return _varint(field.number << 3 | 2)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
