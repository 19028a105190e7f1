"""The clients continue the trace of their program, and leave calls as they are where there is none."""

import asyncio
import sys

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from canuse import NotFound, v1
from canuse._traces import _names, _status, call_span

METADATA = (("authorization", "Bearer sk_live_1"),)
REQUEST = v1.CanUseRequest(user_id="124", feature_id="messages")


def test_a_program_that_does_not_trace_sends_what_it_always_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with call_span(REQUEST, METADATA) as metadata:
        assert metadata is METADATA
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    with call_span(REQUEST, METADATA) as metadata:
        assert metadata is METADATA
    assert "opentelemetry.trace" not in sys.modules


def test_a_span_from_elsewhere_is_continued_without_the_sdk() -> None:
    flags = TraceFlags(TraceFlags.SAMPLED)
    span = NonRecordingSpan(SpanContext(trace_id=0xA1, span_id=0xB2, is_remote=True, trace_flags=flags))
    with trace.use_span(span), call_span(REQUEST, METADATA) as metadata:
        assert metadata == (*METADATA, ("traceparent", f"00-{0xA1:032x}-{0xB2:016x}-01"))


def test_every_method_has_its_name() -> None:
    assert _names("canuse.v1.CanUseRequest") == ("canuse.v1.EntitlementService", "CanUse")
    assert _names("canuse.v1.ListUsersRequest") == ("canuse.v1.UserService", "ListUsers")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, grpc.StatusCode.OK),
        (NotFound("gone"), grpc.StatusCode.NOT_FOUND),
        (asyncio.CancelledError(), grpc.StatusCode.CANCELLED),
        (GeneratorExit(), grpc.StatusCode.CANCELLED),
        (ValueError(), grpc.StatusCode.UNKNOWN),
    ],
)
def test_a_span_has_the_status_of_its_call(error: BaseException | None, status: grpc.StatusCode) -> None:
    assert _status(error) is status
