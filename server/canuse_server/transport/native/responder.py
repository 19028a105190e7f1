"""Responses to calls from the front, and their report to the observer and the tracer."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from grpc import StatusCode
from pygrpc_native import EVENT_CALL, EVENT_CANCEL, NativeGrpcFront

from canuse_server.api.dispatch import EndedCall, Observer, Tracer
from canuse_server.api.errors import ApiError
from canuse_server.api.metadata import REQUEST_ID, Metadata, request_id, with_request_id
from canuse_server.runtime.round_trips import RoundTrip, RoundTrips
from canuse_server.transport.native.calls import Call

if TYPE_CHECKING:
    from pygrpc_native._native import DetailedEvent


class _Observed(NamedTuple):
    """A call in flight that the observer or the tracer will hear of."""

    path: str
    received_at: float
    metadata: Metadata
    round_trips: RoundTrips | None


class Responder:
    """Ends calls, from any thread. With neither observer nor tracer, `ok` is the front's own method."""

    def __init__(
        self,
        front: NativeGrpcFront,
        paths: Mapping[int, str],
        observer: Observer | None = None,
        tracer: Tracer | None = None,
        *,
        request_ids: bool = False,
    ) -> None:
        """`request_ids`: calls get a request id, which is returned. That needs an observer."""
        self._front = front
        self._paths = paths
        self._observer = observer
        self.tracer = tracer
        self._request_ids = request_ids
        self._in_flight: dict[int, _Observed] = {}
        """The calls in flight, by id: all for an observer, else those that are traced."""
        self.ok = front.respond if observer is None and tracer is None else self._ok
        """Ends a call, by its id, with a response."""

    def fail(self, call_id: int, error: ApiError) -> None:
        """End a call with an error."""
        call, trailing = self._in_flight.pop(call_id, None), error.trailing_metadata()
        if call is None:
            self._front.fail(call_id, error.code, error.message, trailing)
            return
        ended_at = time.monotonic()
        self._front.fail(call_id, error.code, error.message, (*trailing, *self._returned(call)))
        self._report(call, error.reason.status, ended_at)

    def _ok(self, call_id: int, answer: bytes) -> None:
        call = self._in_flight.pop(call_id, None)
        if call is None:
            self._front.respond(call_id, answer)
            return
        # Before the caller has the answer: for the caller, the call ends later.
        ended_at = time.monotonic()
        self._front.respond(call_id, answer, trailing_metadata=self._returned(call))
        self._report(call, StatusCode.OK, ended_at)

    def note(self, events: "list[DetailedEvent]") -> None:
        """Note new and cancelled calls, when they are received from the front. A call begins then."""
        if self._observer is None and self.tracer is None:
            return
        now = time.monotonic()
        for kind, call_id, method_id, _, _, details in events:
            if kind == EVENT_CALL:
                metadata: Metadata = details[0] if details else ()
                round_trips = None if self.tracer is None else self.tracer.begin(metadata)
                if self._observer is None and round_trips is None:
                    continue
                if self._request_ids:
                    metadata = with_request_id(metadata)
                self._in_flight[call_id] = _Observed(self._paths[method_id], now, metadata, round_trips)
            # A call ends once: a response after its cancellation reaches nobody.
            elif kind == EVENT_CANCEL and (call := self._in_flight.pop(call_id, None)) is not None:
                self._report(call, StatusCode.CANCELLED, now)

    def round_trips(self, call_id: int) -> RoundTrips | None:
        """Return where round trips of a call to the store are noted; None if it is not traced."""
        call = self._in_flight.get(call_id)
        return None if call is None else call.round_trips

    def note_round_trip(self, call: Call, sent_at: float, calls: int, error: Exception | None = None) -> None:
        """Note that the reply to a call has arrived, or was lost; `calls` were sent with the same write."""
        if (round_trips := self.round_trips(call.id)) is not None:
            name = "" if error is None else type(error).__name__
            round_trips.add(RoundTrip(sent_at, time.monotonic(), call.request.packed, name, calls))

    def _returned(self, call: _Observed) -> tuple[tuple[str, str], ...]:
        """Return the metadata that the response to a call has for its caller: its request id."""
        return ((REQUEST_ID, request_id(call.metadata)),) if self._request_ids else ()

    def _report(self, call: _Observed, status: StatusCode, ended_at: float) -> None:
        ended = EndedCall(call.path, status, call.received_at, ended_at, call.metadata, call.round_trips)
        if self._observer is not None:
            self._observer.call_ended(ended)
        if self.tracer is not None and call.round_trips is not None:
            self.tracer.call_ended(ended)
