"""Responses to calls from the front, and their report to an observer."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from grpc import StatusCode
from pygrpc_native import EVENT_CALL, EVENT_CANCEL, NativeGrpcFront

from canuse_server.api.dispatch import Observer
from canuse_server.api.errors import ApiError
from canuse_server.api.metadata import REQUEST_ID, Metadata, request_id, with_request_id

if TYPE_CHECKING:
    from pygrpc_native._native import DetailedEvent


class _Observed(NamedTuple):
    """A call in flight that an observer will hear of."""

    path: str
    arrived_at: float
    metadata: Metadata


class Responder:
    """Ends calls, from any thread. Without an observer, `ok` is the front's own method."""

    def __init__(
        self,
        front: NativeGrpcFront,
        paths: Mapping[int, str],
        observer: Observer | None = None,
        *,
        request_ids: bool = False,
    ) -> None:
        """`request_ids`: calls get a request id, which is returned. That needs an observer."""
        self._front = front
        self._paths = paths
        self._observer = observer
        self._request_ids = request_ids
        self._in_flight: dict[int, _Observed] = {}
        """The calls in flight, by id. Only filled for an observer."""
        self.ok = front.respond if observer is None else self._ok
        """Ends a call, by its id, with a response."""

    def fail(self, call_id: int, error: ApiError) -> None:
        """End a call with an error."""
        trailing: Metadata = error.trailing_metadata()
        if self._observer is not None:
            trailing = (*trailing, *self._returned(call_id))
        self._front.fail(call_id, error.code, error.message, trailing)
        self._report_end(call_id, error.reason.status)

    def note(self, events: "list[DetailedEvent]", arrived_at: float) -> None:
        """Note new and cancelled calls for the observer."""
        if self._observer is None:
            return
        for kind, call_id, method_id, _, _, details in events:
            if kind == EVENT_CALL:
                # The overflow thread may already have noted it.
                if call_id not in self._in_flight:
                    metadata: Metadata = details[0] if details else ()
                    if self._request_ids:
                        metadata = with_request_id(metadata)
                    self._in_flight[call_id] = _Observed(self._paths[method_id], arrived_at, metadata)
            elif kind == EVENT_CANCEL:
                self._report_end(call_id, StatusCode.CANCELLED)

    def _ok(self, call_id: int, answer: bytes) -> None:
        self._front.respond(call_id, answer, trailing_metadata=self._returned(call_id))
        self._report_end(call_id, StatusCode.OK)

    def _returned(self, call_id: int) -> tuple[tuple[str, str], ...]:
        """Return the metadata that the response to a call has for its caller: its request id."""
        call = self._in_flight.get(call_id) if self._request_ids else None
        return () if call is None else ((REQUEST_ID, request_id(call.metadata)),)

    def _report_end(self, call_id: int, status: StatusCode) -> None:
        # A call ends once: a response after its cancellation reaches nobody.
        if self._observer is not None and (call := self._in_flight.pop(call_id, None)):
            self._observer.call_ended(call.path, status, time.monotonic() - call.arrived_at, call.metadata)
