"""For any request, JSON over HTTP and gRPC answer alike.

The same calls go to two servers that nobody else calls, one by gRPC and one in JSON, so both always have the same data.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import grpc
import httpx
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.json_format import MessageToDict, MessageToJson, Parse
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canuse.v1 import (
    catalog_service_pb2,
    entitlement_service_pb2,
    subscription_service_pb2,
    usage_service_pb2,
    user_service_pb2,
)
from support.connect import ConnectError, restore_names
from support.load import running
from support.processes import Canuse
from support.resources import Clock
from support.wire import failure

METHODS: Final = [
    method
    for module in (
        entitlement_service_pb2,
        usage_service_pb2,
        catalog_service_pb2,
        user_service_pb2,
        subscription_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if not method.server_streaming
]
IDS: Final = {
    "user_id": ("u1", "u2", "\u7528\u6237\U0001f600", "", "\n", "u" * 129),
    "feature_id": ("f1", "f2", "f3", "", "f\x00"),
    "package_id": ("p1", "p2", "", "p\x7f"),
    "package_ids": ("p1", "p2", ""),
}
NUMBERS: Final = (0, 1, 2, 5, -1, 2**31 - 1, -(2**31))
LARGE_NUMBERS: Final = (2**53 - 1, 2**53, 2**63 - 1, -(2**63))
RANDOM: Final = frozenset({"leaseId", "subscriptionId", "nextPageToken", "token"})
"""Fields that differ from server to server."""


def messages(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Messages of a type, right and wrong, as far as JSON has a form for them."""
    if descriptor.full_name == "google.protobuf.FieldMask":
        paths = st.sampled_from(("name", "unit_label", "email", "status", "trial_end", "features", "nothing", "*"))
        return st.lists(paths, max_size=3).map(lambda found: GetMessageClass(descriptor)(paths=found))
    if descriptor.full_name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
        seconds = st.sampled_from((0, 1, -1, 1_700_000_000, 1_900_000_000, 250_000_000_000))
        return st.builds(GetMessageClass(descriptor), seconds=seconds, nanos=st.just(0))
    fields = {field.name: values(field) for field in descriptor.fields}
    return st.fixed_dictionaries({}, optional=fields).map(lambda found: _built(descriptor, found))


def _built(descriptor: Descriptor, fields: dict[str, Any]) -> Message:
    oneofs: set[str] = set()
    chosen = {}
    for name, value in fields.items():
        oneof = descriptor.fields_by_name[name].containing_oneof
        if oneof is None or oneof.name not in oneofs:
            chosen[name] = value
            oneofs |= {oneof.name} if oneof else set()
    return GetMessageClass(descriptor)(**chosen)


def values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Values of a field."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)
    single = _single(field)
    return st.lists(single, max_size=3) if field.is_repeated else single


def _single(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type)
    if field.enum_type is not None:
        return st.sampled_from((*(value.number for value in field.enum_type.values), 99))
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return st.sampled_from(_texts(field))
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64):
        return st.sampled_from((*NUMBERS, *LARGE_NUMBERS))
    return st.sampled_from(NUMBERS)


def _texts(field: FieldDescriptor) -> tuple[str, ...]:
    if field.name == "id" and field.containing_type is not None:
        return IDS.get(f"{field.containing_type.name.lower()}_id", ("i1", "i2", ""))
    return IDS.get(field.name, ("", "a", "\u00e9", "\n", "x" * 300))


@st.composite
def calls(draw: st.DrawFn) -> tuple[MethodDescriptor, Message]:
    """A call of any method."""
    method = draw(st.sampled_from(METHODS))
    return method, draw(messages(method.input_type))


class Pair:
    """Two servers with the same data."""

    def __init__(self, over_grpc: Canuse, over_http: Canuse) -> None:
        self._channel = grpc.insecure_channel(over_grpc.address)
        self._http = httpx.Client(base_url=over_http.http_url, timeout=60)

    def grpc(self, path: str, request: Message, kind: type[Message]) -> Message:
        """Make a call by gRPC."""
        method: Any = self._channel.unary_unary(path, response_deserializer=kind.FromString)
        answer: Message = method(request.SerializeToString(), timeout=60)
        return answer

    def json(self, path: str, request: Any, kind: type[Message]) -> Message:
        """Make a call in JSON."""
        headers = {"content-type": "application/json"}
        answer = self._http.post(path, content=MessageToJson(request).encode(), headers=headers)
        if answer.status_code != 200:
            raise ConnectError(answer.json(), request.DESCRIPTOR)
        return _with_names_of_grpc(Parse(answer.text, kind()), request.DESCRIPTOR)

    def close(self) -> None:
        """Close the connections."""
        self._channel.close()
        self._http.close()


def _with_names_of_grpc(answer: Any, request: Any) -> Message:
    """Return an answer in which the errors of the items of a batch name fields as over gRPC."""
    for result in getattr(answer, "results", ()):
        if result.HasField("status"):
            restore_names(result.status, request.fields_by_name["requests"].message_type)
    answered: Message = answer
    return answered


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two servers whose clocks stand still at the same time."""
    over_grpc = Canuse(tmp_path_factory.mktemp("grpc"), "--clock", "manual")
    over_http = Canuse(tmp_path_factory.mktemp("json"), "--clock", "manual", env={"CANUSE_HTTP_LISTEN": "127.0.0.1:0"})
    with running(over_grpc), running(over_http):
        for canuse in (over_grpc, over_http):
            clock = Clock(canuse.address)
            clock.set(datetime(2100, 1, 31, 12, 30, tzinfo=UTC))
            clock.close()
        pair = Pair(over_grpc, over_http)
        yield pair
        pair.close()


def outcome(call: Any, path: str, request: Message, kind: type[Message]) -> Any:
    """Return the answer of a call, or its error, without what differs from server to server."""
    try:
        return _same(MessageToDict(call(path, request, kind)))
    except grpc.RpcError as error:
        caught = error
    return failure(_fail, caught)


def _fail(error: grpc.RpcError) -> None:
    raise error


def _same(value: Any) -> Any:
    if isinstance(value, list):
        return [_same(item) for item in value]
    if not isinstance(value, dict):
        return value
    random = RANDOM | ({"id"} if "packageId" in value and "userId" in value else set())
    return {key: "" if key in random else _same(item) for key, item in value.items()}


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(calls(), min_size=1, max_size=12))
def test_for_any_request_json_and_grpc_answer_alike(pair: Pair, made: list[tuple[MethodDescriptor, Message]]) -> None:
    for method, request in made:
        path = f"/{method.containing_service.full_name}/{method.name}"
        kind = GetMessageClass(method.output_type)
        assert outcome(pair.json, path, request, kind) == outcome(pair.grpc, path, request, kind), (path, request)
