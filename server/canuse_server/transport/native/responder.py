"""Responses to calls from the front, and their report to an observer."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from grpc import StatusCode
from pygrpc_native import EVENT_CALL, EVENT_CANCEL, NativeGrpcFront

from canuse_server.api.dispatch import Observer
from canuse_server.api.errors import ApiError

if TYPE_CHECKING:
    from pygrpc_native._native import DetailedEvent


class Responder:
    """Ends calls, from any thread. Without an observer, `ok` is the front's own method."""

    def __init__(self, front: NativeGrpcFront, paths: Mapping[int, str], observer: Observer | None = None) -> None:
        self._front = front
        self._paths = paths
        self._observer = observer
        self._in_flight: dict[int, tuple[str, float]] = {}
        """Path and arrival time of the calls in flight, by id. Only filled for an observer."""
        self.ok = front.respond if observer is None else self._ok
        """Ends a call, by its id, with a response."""

    def fail(self, call_id: int, error: ApiError) -> None:
        """End a call with an error."""
        self._front.fail(call_id, error.code, error.message, error.trailing_metadata())
        self._report_end(call_id, error.reason.status)

    def note(self, events: "list[DetailedEvent]", arrived_at: float) -> None:
        """Note new and cancelled calls for the observer."""
        if self._observer is None:
            return
        for kind, call_id, method_id, *_ in events:
            if kind == EVENT_CALL:
                # The overflow thread may already have noted it.
                self._in_flight.setdefault(call_id, (self._paths[method_id], arrived_at))
            elif kind == EVENT_CANCEL:
                self._report_end(call_id, StatusCode.CANCELLED)

    def _ok(self, call_id: int, answer: bytes) -> None:
        self._front.respond(call_id, answer)
        self._report_end(call_id, StatusCode.OK)

    def _report_end(self, call_id: int, status: StatusCode) -> None:
        # A call ends once: a response after its cancellation reaches nobody.
        if self._observer is not None and (call := self._in_flight.pop(call_id, None)):
            path, arrived_at = call
            self._observer.call_ended(path, status, time.monotonic() - arrived_at)
