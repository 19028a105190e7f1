"""The spans of a call: one of the server, and one for each round trip to the store.

They are made when the call has ended, from its times. So nothing is made for a call that is not traced, and no call
waits for its spans.
"""

import random
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from grpc import StatusCode
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status
from opentelemetry.trace import StatusCode as SpanStatus
from opentelemetry.util.types import AttributeValue

from canuse_server.api.dispatch import EndedCall
from canuse_server.api.metadata import Metadata, request_id
from canuse_server.runtime.round_trips import RoundTrip, RoundTrips
from canuse_server.traces.clock import clock_difference, wall_clock
from canuse_server.traces.commands import operation
from canuse_server.traces.context import is_recorded, new_context, parent_of

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
_ERROR: Final = Status(SpanStatus.ERROR)
_UNSET: Final = Status()


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
        recorded = is_recorded(metadata)
        if recorded is None:
            recorded = random.random() < self._sample  # noqa: S311 - not for cryptography
        return RoundTrips() if recorded else None

    def call_ended(self, call: EndedCall) -> None:
        """See Tracer."""
        parent = parent_of(call.metadata)
        own, clock = new_context(parent), clock_difference()
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
        times = wall_clock(call.started_at, clock), wall_clock(call.ended_at, clock)
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
        own = new_context(parent)
        times = wall_clock(round_trip.started_at, clock), wall_clock(round_trip.ended_at, clock)
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


@lru_cache(maxsize=1024)
def _names(path: str) -> tuple[str, str, str]:
    """Return the name of the span of a call, its service and its method."""
    name = path.removeprefix("/")
    service, _, method = name.partition("/")
    return name, service, method
