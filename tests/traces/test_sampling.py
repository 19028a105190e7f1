"""Which calls are traced: those that their callers record, and a share of those whose callers do not say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from canuse import v1
from support.collector import SERVER, Collector, Received, collecting
from support.load import running, until
from support.processes import Canuse
from traces.headers import trace_id, traced, traceparent

CAN_USE = "canuse.v1.EntitlementService/CanUse"
LIST_USERS = "canuse.v1.UserService/ListUsers"


def call(address: str, method: str, *metadata: tuple[str, str], times: int = 1) -> None:
    """Call a method with metadata, and ignore what becomes of it."""
    request = v1.CanUseRequest(user_id="nobody", feature_id="nothing") if method == CAN_USE else v1.ListUsersRequest()
    with grpc.insecure_channel(address) as channel:
        multicallable: Any = channel.unary_unary(
            f"/{method}", request_serializer=lambda message: message.SerializeToString()
        )
        for _ in range(times):
            multicallable.with_call(
                request, metadata=metadata, timeout=60
            ) if method == LIST_USERS else multicallable.future(request, metadata=metadata, timeout=60).exception()


@pytest.fixture(scope="module")
def traced_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Canuse, Collector]]:
    """A server that traces all calls, and its collector."""
    with collecting() as collector:
        env = {"CANUSE_OTLP_ENDPOINT": collector.grpc_url, "CANUSE_TRACE_SAMPLE": "1"}
        with running(Canuse(tmp_path_factory.mktemp("traced"), env=env)) as canuse:
            yield canuse, collector


def servers(collector: Collector) -> list[Received]:
    """Return the spans of the server."""
    return [received for received in collector.spans if received.span.kind == SERVER]


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_the_caller_decides_for_its_trace(tmp_path: Path, transport: str) -> None:
    for share, folder in (("0", tmp_path / "none"), ("1", tmp_path / "all")):
        folder.mkdir()
        with collecting() as collector:
            env = {
                "CANUSE_TRANSPORT": transport,
                "CANUSE_OTLP_ENDPOINT": collector.grpc_url,
                "CANUSE_TRACE_SAMPLE": share,
            }
            with running(Canuse(folder, env=env)) as canuse:
                for number, method in enumerate((CAN_USE, LIST_USERS)):
                    call(canuse.address, method, traceparent(number, sampled=False))
                    call(canuse.address, method, traced(number + 10), ("tracestate", "vendor=value"))
            found = {received.span.trace_id: received.span for received in servers(collector)}
        assert found.keys() == {trace_id(10), trace_id(11)}
        for number in (10, 11):
            assert found[trace_id(number)].parent_span_id == (number + 1).to_bytes(8, "big")
            assert found[trace_id(number)].trace_state == "vendor=value"


@pytest.mark.parametrize("value", ["", "00-0-0-00", f"00-{0:032x}-{1:016x}-00", f"ff-{1:032x}-{1:016x}-00"])
def test_a_header_that_is_not_valid_decides_nothing(traced_server: tuple[Canuse, Collector], value: str) -> None:
    canuse, collector = traced_server
    before = len(servers(collector))
    call(canuse.address, CAN_USE, ("traceparent", value))
    until(lambda: len(servers(collector)) == before + 1)
    assert servers(collector)[-1].span.parent_span_id == b""


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_a_share_of_the_other_calls_is_traced(tmp_path: Path, transport: str) -> None:
    with collecting() as collector:
        env = {"CANUSE_TRANSPORT": transport, "CANUSE_OTLP_ENDPOINT": collector.grpc_url, "CANUSE_TRACE_SAMPLE": "0.5"}
        with running(Canuse(tmp_path, env=env)) as canuse:
            for method in (CAN_USE, LIST_USERS):
                call(canuse.address, method, times=100)
        found = [received.span for received in servers(collector)]
    # Outside of these bounds about once in 10^12 runs.
    assert 50 <= len(found) <= 150
    assert len({span.trace_id for span in found}) == len(found)
    assert not any(span.parent_span_id for span in found)
