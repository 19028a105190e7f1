"""Which calls are traced: those that their callers record, and a share of those whose callers do not say."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from canuse import v1
from support.collector import SERVER, Collector, Received, collecting
from support.load import running
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


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_a_share_of_the_other_calls_is_traced(tmp_path: Path, transport: str) -> None:
    with collecting() as collector:
        env = {"CANUSE_TRANSPORT": transport, "CANUSE_OTLP_ENDPOINT": collector.grpc_url, "CANUSE_TRACE_SAMPLE": "0.5"}
        with running(Canuse(tmp_path, env=env)) as canuse:
            # What is no valid header is none: each call begins a trace.
            for header in ((), (("traceparent", "00-0-0-01"),)):
                for method in (CAN_USE, LIST_USERS):
                    call(canuse.address, method, *header, times=50)
        found = [received.span for received in servers(collector)]
    # Outside of these bounds about once in 10^12 runs.
    assert 50 <= len(found) <= 150
    assert len({span.trace_id for span in found}) == len(found)
    assert not any(span.parent_span_id for span in found)
