"""The definitions of Envoy's API in canuse match those built into Envoy's program."""

import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto

from canuse_server.envoy import descriptor_pb2, rate_limit_service_pb2
from support.tools import tool

FILES = {
    "envoy/service/ratelimit/v3/rls.proto": rate_limit_service_pb2.DESCRIPTOR,
    "envoy/extensions/common/ratelimit/v3/ratelimit.proto": descriptor_pb2.DESCRIPTOR,
}
NAME, SYNTAX, LAST = 1, 12, 14  # numbers of fields of FileDescriptorProto; the syntax is written last
VARINT, BYTES = 0, 2


def varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """Read a varint; return it and the position after it."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
        shift += 7


def built_in(path: str) -> FileDescriptorProto:
    """Return the definitions of a file from the constants in Envoy's program."""
    with Path(tool("envoy")).open("rb") as program, mmap.mmap(program.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(bytes([NAME << 3 | BYTES, len(path)]) + path.encode())
        assert start >= 0, f"there is no {path}"
        at, field = start, 0
        while field != SYNTAX:
            tag, at = varint(data, at)
            field = tag >> 3
            assert tag & 7 in (VARINT, BYTES)
            assert 0 < field <= LAST
            value, at = varint(data, at)
            at += value if tag & 7 == BYTES else 0
        return FileDescriptorProto.FromString(data[start:at])


def facts(messages: Iterable[DescriptorProto], prefix: str = "") -> Iterator[tuple[object, ...]]:
    """Yield everything that matters on the wire."""
    for message in messages:
        name = f"{prefix}.{message.name}"
        for field in message.field:
            yield name, field.name, field.number, field.type, field.label, field.type_name
        yield from enum_facts(message.enum_type, name)
        yield from facts(message.nested_type, name)


def enum_facts(enums: Iterable[EnumDescriptorProto], prefix: str) -> Iterator[tuple[object, ...]]:
    """Yield the values of enums."""
    for enum in enums:
        for value in enum.value:
            yield f"{prefix}.{enum.name}", value.name, value.number


def methods(file: FileDescriptorProto) -> Iterator[tuple[str, ...]]:
    """Yield the methods of services."""
    for service in file.service:
        for method in service.method:
            yield service.name, method.name, method.input_type, method.output_type


@pytest.mark.parametrize("path", FILES)
def test_every_name_number_and_type_is_envoy_s(path: str) -> None:
    theirs, ours = built_in(path), FileDescriptorProto()
    FILES[path].CopyToProto(ours)
    assert ours.package == theirs.package
    described = set(facts(ours.message_type))
    assert described
    assert described <= set(facts(theirs.message_type))
    assert set(methods(ours)) <= set(methods(theirs))
