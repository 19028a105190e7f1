"""The queue from which the lane takes calls.

The front itself queues calls without a limit. So while the lane is busy, an overflow thread receives them: it queues as
many as the admission limit allows and refuses the others at once.
"""

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from pygrpc_native import EVENT_CALL, EVENT_CANCEL, NativeGrpcFront

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.errors import ApiError
from canuse_server.api.metadata import check_metadata
from canuse_server.runtime.thread_pauses import CALLS
from canuse_server.transport.native.responder import Responder

if TYPE_CHECKING:
    from pygrpc_native._native import DetailedEvent

CHECK_INTERVAL_SECONDS: Final = 0.02
"""Interval at which the overflow thread checks for calls."""
IMMEDIATE_SECONDS: Final = 0.001
"""Maximum time to receive calls that have already arrived."""
MAX_OVERFLOW_CALLS: Final = 256
"""Maximum number of calls that the overflow thread receives at a time."""


class Received(NamedTuple):
    """Received calls, and the earliest time at which the first can have arrived, by `time.monotonic`."""

    events: "list[DetailedEvent]"
    arrived_at: float


class _Queued(NamedTuple):
    """A call that waits for the lane, or the cancellation of a call that the lane already has."""

    queued_at: float
    event: "DetailedEvent"
    size: int | None
    """Size of the call for the admission limit, in bytes. None for a cancellation."""


class CallQueue(threading.Thread):
    """A first-in, first-out queue of calls for the lane."""

    def __init__(self, front: NativeGrpcFront, admission: AdmissionLimit, responder: Responder) -> None:
        super().__init__(name="canuse-overflow", daemon=True)
        self._front = front
        self._admission = admission
        self._responder = responder
        self._queued: OrderedDict[int, _Queued] = OrderedDict()
        self._lane_is_waiting = False
        self._received_at = 0.0
        """Time at which the lane last received calls from the front."""
        self._closed = threading.Event()
        # A lane that waits for the front would not notice calls that the overflow thread receives. So that thread
        # receives none while the lane waits, and the lane does not start to wait while the thread receives some.
        self._receive_lock = threading.Lock()

    def take(self, max_calls: int, wait_ms: int) -> Received | None:
        """Return calls as soon as there are any, or none after `wait_ms`. Return None if the front is closed."""
        called_at = time.monotonic()
        with self._receive_lock:
            if self._queued and (received := self._take_queued(max_calls)):
                return received
            self._lane_is_waiting = wait_ms > 0
        events = self._front.recv_batch_details(max_calls, wait_ms)
        self._lane_is_waiting = False
        if events is None:
            return None
        self._responder.note(events)
        now = time.monotonic()
        # Calls that had already arrived may have done so at any time since the previous ones were received.
        arrived_at = self._received_at or called_at if now - called_at < IMMEDIATE_SECONDS else called_at
        self._received_at = now
        if events:
            CALLS.last_at = now
        return Received(events, arrived_at)

    def _take_queued(self, max_calls: int) -> Received | None:
        events: list[DetailedEvent] = []
        now, arrived_at = time.monotonic(), 0.0
        while self._queued and len(events) < max_calls:
            _, (queued_at, event, size) = self._queued.popitem(last=False)
            arrived_at = arrived_at or queued_at - CHECK_INTERVAL_SECONDS
            kind, call_id, method_id, payload, key, details = event
            if size is not None:
                self._admission.release(size)
            if details is not None and details[2] is not None:
                details = (details[0], details[1], details[2] - (now - queued_at))
            events.append((kind, call_id, method_id, payload, key, details))
        return Received(events, arrived_at) if events else None

    def run(self) -> None:
        """Receive calls while the lane is busy, until the queue is closed."""
        while not self._closed.wait(CHECK_INTERVAL_SECONDS):
            while self._queue_or_refuse():
                continue

    def _queue_or_refuse(self) -> bool:
        """Receive the calls that wait for the lane; return whether there may be more."""
        with self._receive_lock:
            events = [] if self._lane_is_waiting else self._front.recv_batch_details(MAX_OVERFLOW_CALLS, 0) or []
            now = time.monotonic()
            self._responder.note(events)
            for event in events:
                if event[0] == EVENT_CALL:
                    self._queue(event, now)
                elif event[0] == EVENT_CANCEL:
                    self._cancel(event, now)
            return bool(events)

    def _queue(self, event: "DetailedEvent", now: float) -> None:
        _, call_id, _, payload, _, details = event
        size = len(payload or b"")
        try:
            if details:
                size += check_metadata(details[0])
            self._admission.acquire(size)
        except ApiError as error:
            self._responder.fail(call_id, error)
        else:
            self._queued[call_id] = _Queued(now, event, size)

    def _cancel(self, event: "DetailedEvent", now: float) -> None:
        """Remove a cancelled call. If the lane already has the call, queue the cancellation for it."""
        queued = self._queued.pop(event[1], None)
        if queued is None:
            self._queued[event[1]] = _Queued(now, event, None)
        elif queued.size is not None:
            self._admission.release(queued.size)

    def close(self) -> None:
        """Stop the overflow thread."""
        self._closed.set()
