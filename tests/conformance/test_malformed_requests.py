"""Malformed requests that no client would send: whatever the bytes, the answer is one of the error table."""

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from canuse import v1
from canuse.v1 import (
    catalog_service_pb2,
    entitlement_service_pb2,
    subscription_service_pb2,
    usage_service_pb2,
    user_service_pb2,
)
from support.connect import ConnectChannel
from support.message_clients import Client
from support.resources import subscriber, unique
from support.wire import TIMEOUT_SECONDS, Stubs, failure

SERVICES = [
    service
    for module in (
        entitlement_service_pb2,
        usage_service_pb2,
        catalog_service_pb2,
        user_service_pb2,
        subscription_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
]
METHODS = {method.name: method for service in SERVICES for method in service.methods}
UNNEEDING = ("ListFeatures", "ListPackages", "ListUsers", "ListSubscriptions", "ListUsageTotals", "ApplyCatalog")
BATCHES: dict[
    str, type[v1.BatchCanUseResponse] | type[v1.BatchCreateUsageEventsResponse] | type[v1.BatchUseFeatureResponse]
] = {
    "BatchCanUse": v1.BatchCanUseResponse,
    "BatchCreateUsageEvents": v1.BatchCreateUsageEventsResponse,
    "BatchUseFeature": v1.BatchUseFeatureResponse,
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
GARBAGE = {
    "no field": b"\xff\xff\xff\xff",
    "cut off": b"\x0a\x05ab",
    "a field 0": b"\x00\x01",
    "an open group": b"\x0b",
    "endless": b"\x80" * 50,
}
NO_TEXT = {"no UTF-8": b"\xc3\x28", "half a surrogate pair": b"\xed\xa0\x80", "overlong": b"\xc0\x80"}
EXPECTED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
}


def path(method: MethodDescriptor) -> str:
    """Return the path of a method."""
    return f"/{method.containing_service.full_name}/{method.name}"


def tagged(number: int, payload: bytes) -> bytes:
    """Return a length-delimited field in its wire format."""
    return bytes([number << 3 | 2, len(payload)]) + payload


def is_text(field: FieldDescriptor) -> bool:
    """Whether a field is a text."""
    return field.type == field.TYPE_STRING


def has_text(field: FieldDescriptor) -> bool:
    """Whether a field is a message that contains a text."""
    return field.message_type is not None and any(map(is_text, field.message_type.fields))


def in_place_of_text(method: MethodDescriptor, wire_form: Callable[[int], bytes]) -> bytes:
    """Return a request with bytes in place of its first text: its id, or a list's page token."""
    field = next(each for each in method.input_type.fields if is_text(each) or has_text(each))
    if field.message_type:
        inner = field.message_type
        return tagged(field.number, wire_form(inner.fields_by_name.get("id", inner.fields[0]).number))
    return wire_form(field.number)


@every_method
def test_bytes_that_are_no_message_are_bad_input_and_no_fault_of_the_server(
    stubs: Stubs, method: MethodDescriptor
) -> None:
    payloads = dict(GARBAGE)
    for name, text in NO_TEXT.items():
        payloads[name] = in_place_of_text(method, partial(tagged, payload=text))
    for name, payload in payloads.items():
        refused = failure(stubs.call_raw, path(method), payload)
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["request"]), name
        assert refused.reason == "INVALID_FIELD"
        assert method.input_type.full_name in refused.message


@pytest.mark.parametrize(
    "path",
    [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ],
)
def test_bytes_that_are_no_message_are_bad_input_for_the_methods_without_a_key_as_well(stubs: Stubs, path: str) -> None:
    """They were UNKNOWN, "Unexpected <class 'google.protobuf.message.DecodeError'>"."""
    if isinstance(stubs.channel, ConnectChannel):
        pytest.skip("health and reflection are gRPC's alone")

    def call(payload: bytes) -> None:
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = stubs.channel.stream_stream(path)
        list(method(iter([payload]), timeout=TIMEOUT_SECONDS))

    for name, payload in GARBAGE.items():
        refused = failure(call, payload)
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["request"]), name


@every_method
def test_an_empty_request_is_refused_with_every_missing_field(stubs: Stubs, method: MethodDescriptor) -> None:
    needed = {
        "CanUse": ["feature_id", "user_id"],
        "CreateUsageEvent": ["feature_id", "user_id"],
        "UseFeature": ["feature_id", "user_id"],
        "UseFeatures": ["charges", "user_id"],
        "CreateGrant": ["grant.feature_id", "grant.id", "grant.user_id"],
        "RevokeGrant": ["grant_id", "user_id"],
        "ShowUsage": ["feature_id", "user_id"],
        "ListEntitlements": ["user_id"],
        "ChangePackage": ["package_id", "user_id"],
        "EnsureUser": ["user.id"],
        "ExtendLease": ["lease_id", "ttl"],
        "CreateFeature": ["feature.id", "feature.type"],
        "UpdateFeature": ["feature.id"],
        "CreatePackage": ["package.id"],
        "UpdatePackage": ["package.id"],
        "CreateUser": ["user.id"],
        "UpdateUser": ["user.id"],
        "UpdateSubscription": ["subscription.id"],
        "Subscribe": ["package_ids", "user_id"],
        "Reserve": ["amount", "feature_id", "user_id"],
        "Settle": ["lease_id", "used"],
    }
    if method.name in UNNEEDING:
        assert isinstance(stubs.call_raw(path(method), b""), bytes)
        return
    refused = failure(stubs.call_raw, path(method), b"")
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert refused.fields == needed.get(method.name, [method.input_type.fields[0].name])
    assert all("sent" in text for text in refused.violations.values())


@every_method
def test_a_number_in_the_place_of_a_text_is_not_taken_for_one(stubs: Stubs, method: MethodDescriptor) -> None:
    payload = in_place_of_text(method, lambda number: bytes([number << 3, 124]))
    # An empty document is good; one with an empty feature is not.
    if method.name in UNNEEDING and method.name != "ApplyCatalog":
        # As messages: two responses may hold the pairs of a map in different orders.
        answer = GetMessageClass(method.output_type).FromString
        assert answer(stubs.call_raw(path(method), payload)) == answer(stubs.call_raw(path(method), b""))
    elif method.name in BATCHES:
        [result] = BATCHES[method.name].FromString(stubs.call_raw(path(method), payload)).results
        assert result.status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    else:
        assert failure(stubs.call_raw, path(method), payload).code == grpc.StatusCode.INVALID_ARGUMENT


def test_fields_that_a_newer_client_sends_are_ignored(stubs: Stubs, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    request = v1.CanUseRequest(user_id=user_id, feature_id=feature_id).SerializeToString() + b"\xc2\x3e\x02ab"
    assert v1.CanUseResponse.FromString(stubs.call_raw("/canuse.v1.EntitlementService/CanUse", request)).access


@every_method
def test_no_bytes_make_the_server_fail(stubs: Stubs, method: MethodDescriptor) -> None:
    chance = random.Random(method.name)
    message = GetMessageClass(method.input_type)()
    field = method.input_type.fields[0]
    if method.name in BATCHES:
        getattr(message, field.name).add(user_id=unique("fuzzed"))
    elif field.is_repeated and field.message_type:
        getattr(message, field.name).add(id=unique("fuzzed"))
    elif has_text(field):
        getattr(message, field.name).id = unique("fuzzed")
    elif field.type == field.TYPE_STRING:
        setattr(message, field.name, unique("fuzzed"))
    for _ in range(40):
        payload = bytearray(message.SerializeToString() + chance.randbytes(chance.randrange(12)))
        for _ in range(chance.randrange(4) if payload else 0):
            payload[chance.randrange(len(payload))] = chance.randrange(256)
        # A failed call is repeated; it fails again, for it has changed nothing.
        with suppress(grpc.RpcError):
            stubs.call_raw(path(method), bytes(payload))
            continue
        refused = failure(stubs.call_raw, path(method), bytes(payload))
        assert refused.code in EXPECTED, (refused, bytes(payload))


def test_a_method_that_there_is_not_is_unimplemented(stubs: Stubs) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.call_raw("/canuse.v1.EntitlementService/CanWe", b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
