"""Every field of every request has a bound, and the maximum size of a method's request follows from the bounds."""

import re

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from canuse import v1
from canuse_server.api.bounds import (
    MAX_PACKAGE_FEATURES,
    MAX_REQUEST_BYTES,
    check_counts,
    check_size,
    max_items,
    max_message_bytes,
    max_request_bytes,
    max_text_bytes,
    method_bytes,
)
from canuse_server.api.errors import ApiError, ErrorReason, invalid
from canuse_server.api.validation import Violations
from support.requests import AS_A_WHOLE, METHODS, FieldPath, field_paths, largest

TEXTS = (FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_BYTES)
BOUNDED = [place for place in field_paths() if place.field.is_repeated or place.field.type in TEXTS]


@pytest.mark.parametrize("place", BOUNDED, ids=str)
def test_every_text_and_every_repeated_field_of_every_request_has_a_bound(place: FieldPath) -> None:
    if place.field.is_repeated:
        assert max_items(place.field) > 0
    if place.field.type in TEXTS:
        assert max_text_bytes(place.field) > 0


def made_up(name: str, label: FieldDescriptorProto.Label.ValueType) -> Descriptor:
    """Return a message with one text field."""
    file = FileDescriptorProto(name="made_up.proto", package="made.up", syntax="proto3")
    field = file.message_type.add(name="Request").field.add(name=name, number=1, label=label)
    field.type = FieldDescriptorProto.TYPE_STRING
    pool = DescriptorPool()
    pool.Add(file)
    return pool.FindMessageTypeByName("made.up.Request")


@pytest.mark.parametrize(
    ("name", "label"),
    [("unheard_of", FieldDescriptorProto.LABEL_OPTIONAL), ("user_id", FieldDescriptorProto.LABEL_REPEATED)],
)
def test_a_field_without_a_bound_is_named(name: str, label: FieldDescriptorProto.Label.ValueType) -> None:
    with pytest.raises(LookupError, match=re.escape(f"made.up.Request.{name} ")):
        max_request_bytes(made_up(name, label))


@pytest.mark.parametrize("path", sorted(METHODS.keys() - AS_A_WHOLE))
def test_the_largest_valid_request_of_a_method_is_within_what_it_takes(path: str) -> None:
    size = largest(METHODS[path].input_type, -1).ByteSize()
    assert size <= max_message_bytes(METHODS[path].input_type) < method_bytes(path) <= MAX_REQUEST_BYTES
    check_size(path, size)


@pytest.mark.parametrize("path", sorted(AS_A_WHOLE))
def test_a_request_that_is_bounded_as_a_whole_may_be_nearly_as_large_as_any(path: str) -> None:
    assert max_message_bytes(METHODS[path].input_type) > MAX_REQUEST_BYTES
    assert method_bytes(path) == MAX_REQUEST_BYTES // 2


def test_a_request_that_is_larger_is_refused_with_what_the_method_takes_and_what_was_sent() -> None:
    path = "/canuse.v1.EntitlementService/CanUse"
    max_bytes = method_bytes(path)
    check_size(path, max_bytes)
    with pytest.raises(ApiError) as raised:
        check_size(path, max_bytes + 1)
    assert raised.value.reason is ErrorReason.INVALID_FIELD
    assert raised.value.message == f"request: must be at most {max_bytes} bytes for CanUse; {max_bytes + 1} were sent"


def test_every_field_with_too_many_items_is_reported_and_none_of_its_items() -> None:
    package = v1.Package(features=[v1.PackageFeature()] * (MAX_PACKAGE_FEATURES + 1))
    package.metadata.update({str(number): "" for number in range(17)})
    with pytest.raises(ApiError) as raised:
        check_counts(v1.CreatePackageRequest(package=package))
    assert dict(raised.value.violations) == {
        "package.features": "must be at most 1000; 1001 were sent",
        "package.metadata": "must be at most 16; 17 were sent",
    }


def test_at_most_20_violations_are_listed_and_the_rest_are_counted() -> None:
    """For 1000 bad package ids as many texts were built, and 990 of them discarded."""
    violations = Violations()
    for number in range(1000):
        violations.id(f"ids[{number}]", "")
    assert len(violations.found) == 20
    with pytest.raises(ApiError) as raised:
        violations.check()
    violation_count = len(raised.value.violations)
    assert 1 < violation_count <= 20
    assert raised.value.message.endswith(f"; and {1000 - violation_count} more")


def test_short_violations_are_listed_up_to_20_too() -> None:
    error = invalid([(str(number), "bad") for number in range(1000)])
    assert [field for field, _ in error.violations] == [str(number) for number in range(20)]
    assert error.message.endswith("; 19: bad; and 980 more")
