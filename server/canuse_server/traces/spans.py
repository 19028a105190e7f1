"""The spans of a call: one of the server, and one for each round trip to the store.

They are made when the call has ended, from its times. So nothing is made for a call that is not traced, and no call
waits for its spans.
"""

import random
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from grpc import StatusCode
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, TraceFlags, TraceState, get_current_span
from opentelemetry.trace import StatusCode as SpanStatus
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from canuse_server.api.dispatch import EndedCall
from canuse_server.api.metadata import Metadata, request_id
from canuse_server.runtime.round_trips import RoundTrip, RoundTrips
from canuse_server.traces.commands import operation

TRACE_CONTEXT: Final = ("traceparent", "tracestate")
"""The metadata with which W3C's Trace Context says which span made a call."""
SERVER_ERRORS: Final = frozenset(
    {
        StatusCode.UNKNOWN,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL,
        StatusCode.UNAVAILABLE,
        StatusCode.DATA_LOSS,
    }
)
"""The statuses that make the span of a server an error, by OpenTelemetry's conventions: the others are the caller's."""
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?", re.ASCII
)
"""A valid `traceparent`, with its flags. OpenTelemetry, which reads it for calls that are traced, takes five times as
long."""
_EMPTY: Final = Context()
_ERROR: Final = Status(SpanStatus.ERROR)
_UNSET: Final = Status()
_PROPAGATOR: Final = TraceContextTextMapPropagator()
_IDS: Final = RandomIdGenerator()


class CallSpans:
    """The Tracer of one port."""

    def __init__(
        self,
        port: str,
        sample: float,
        resource: Resource,
        scope: InstrumentationScope,
        put: Callable[[ReadableSpan], None],
        *,
        request_ids: bool,
    ) -> None:
        """`sample` is the share of the calls whose callers do not decide; `request_ids`: calls have a safe one."""
        self._port = port
        self._sample = sample
        self._resource = resource
        self._scope = scope
        self._put = put
        self._request_ids = request_ids

    def begin(self, metadata: Metadata) -> RoundTrips | None:
        """See Tracer. The caller decides if it says whether it records its own span, else chance."""
        for name, value in metadata:
            if name == "traceparent" and isinstance(value, str) and (found := _TRACEPARENT.fullmatch(value)):
                return RoundTrips() if int(found[1], 16) & TraceFlags.SAMPLED else None
        return RoundTrips() if random.random() < self._sample else None  # noqa: S311 - not for cryptography

    def call_ended(self, call: EndedCall) -> None:
        """See Tracer."""
        parent = _parent(call.metadata)
        own = _new_context(parent.trace_id if parent else _IDS.generate_trace_id(), parent and parent.trace_state)
        # Read for each call, since the clock may be set while the server runs.
        clock = time.time_ns() - time.monotonic_ns()
        for round_trip in call.round_trips.kept if call.round_trips else ():
            self._put(self._store_span(round_trip, own, clock))
        self._put(self._server_span(call, own, parent, clock))

    def _server_span(self, call: EndedCall, own: SpanContext, parent: SpanContext | None, clock: int) -> ReadableSpan:
        name, service, method = _names(call.path)
        attributes: dict[str, AttributeValue] = {
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": method,
            "rpc.grpc.status_code": call.status.value[0],
            "canuse.port": self._port,
        }
        if call.round_trips is not None:
            attributes["canuse.store.round_trips"] = call.round_trips.count
        if self._request_ids:
            attributes["rpc.grpc.request.metadata.x-request-id"] = (request_id(call.metadata),)
        error = call.status.name if call.status in SERVER_ERRORS else ""
        times = _wall_clock(call.started_at, clock), _wall_clock(call.ended_at, clock)
        return self._span(name, SpanKind.SERVER, own, parent, times, attributes, error)

    def _store_span(self, round_trip: RoundTrip, parent: SpanContext, clock: int) -> ReadableSpan:
        command, script = operation(round_trip.packed)
        attributes: dict[str, AttributeValue] = {
            # The second is the newer name, the first what many backends still look for.
            "db.system": "redis",
            "db.system.name": "redis",
            "db.operation.name": command,
        }
        if script is not None:
            attributes["db.stored_procedure.name"] = script
        if round_trip.calls > 1:
            attributes["canuse.batch.calls"] = round_trip.calls
        name = f"{command} {script}" if script else command
        own = _new_context(parent.trace_id, parent.trace_state)
        times = _wall_clock(round_trip.started_at, clock), _wall_clock(round_trip.ended_at, clock)
        return self._span(name, SpanKind.CLIENT, own, parent, times, attributes, round_trip.error)

    def _span(
        self,
        name: str,
        kind: SpanKind,
        own: SpanContext,
        parent: SpanContext | None,
        times: tuple[int, int],
        attributes: dict[str, AttributeValue],
        error: str,
    ) -> ReadableSpan:
        """Return a span that has ended. Making it with a tracer takes twenty times as long."""
        if error:
            attributes["error.type"] = error
        return ReadableSpan(
            *(name, own, parent, self._resource, attributes),
            kind=kind,
            status=_ERROR if error else _UNSET,
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=self._scope,
        )


def _wall_clock(seconds: float, clock: int) -> int:
    """Return a time of `time.monotonic` in nanoseconds since 1970; `clock` is the difference of the clocks."""
    return clock + int(seconds * 1_000_000_000)


def _new_context(trace_id: int, trace_state: TraceState | None) -> SpanContext:
    """Return the context of a new span."""
    return SpanContext(
        trace_id,
        _IDS.generate_span_id(),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=trace_state,
    )


def _parent(metadata: Metadata) -> SpanContext | None:
    """Return the caller's span, if the metadata has a valid one."""
    carrier: dict[str, str] = {}
    for name, value in metadata:
        if name in TRACE_CONTEXT and isinstance(value, str):
            carrier.setdefault(name, value)
    found = get_current_span(_PROPAGATOR.extract(carrier, _EMPTY)).get_span_context()
    return found if found.is_valid else None


@lru_cache(maxsize=1024)
def _names(path: str) -> tuple[str, str, str]:
    """Return the name of the span of a call, its service and its method."""
    name = path.removeprefix("/")
    service, _, method = name.partition("/")
    return name, service, method
