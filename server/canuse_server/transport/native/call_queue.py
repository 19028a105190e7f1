"""The queue from which the lane takes calls.

The front keeps all calls until somebody takes them, without a bound. So while the lane is busy, an overflow thread
takes them: it queues as many as may wait, and refuses the others at once.
"""

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from pygrpc_native import EVENT_CALL, EVENT_CANCEL, NativeGrpcFront

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.errors import ApiError
from canuse_server.api.metadata import check_metadata
from canuse_server.transport.native.responder import Responder

if TYPE_CHECKING:
    from pygrpc_native._native import DetailedEvent

CHECK_INTERVAL_SECONDS: Final = 0.02
"""How often the overflow thread checks whether calls have to be taken."""
IMMEDIATE_SECONDS: Final = 0.001
"""Maximum time to take calls that have come already."""
MAX_TAKEN: Final = 256


class Taken(NamedTuple):
    """Some calls, and when the first of them came at the earliest, by `time.monotonic`."""

    events: "list[DetailedEvent]"
    arrived_at: float


class _Queued(NamedTuple):
    """A call that waits for the lane, or the cancellation of one that the lane has already."""

    at: float
    event: "DetailedEvent"
    size: int | None
    """How many bytes the call counts for; None: a cancellation."""


class CallQueue(threading.Thread):
    """Gives calls to the lane, in the order in which they came."""

    def __init__(self, front: NativeGrpcFront, admission: AdmissionLimit, responder: Responder) -> None:
        super().__init__(name="canuse-overflow", daemon=True)
        self._front = front
        self._admission = admission
        self._responder = responder
        self._queued: OrderedDict[int, _Queued] = OrderedDict()
        self._lane_waits = False
        self._taken_at = 0.0
        """When the lane last took calls from the front."""
        self._closed = threading.Event()
        # A lane that waits on the front would not hear of calls that the overflow thread takes. So that thread takes
        # none while the lane waits, and the lane does not start to wait while it takes some.
        self._turn = threading.Lock()

    def take(self, max_calls: int, wait_ms: int) -> Taken | None:
        """Return calls as soon as there are any, none after a time; None: the front is closed."""
        called_at = time.monotonic()
        with self._turn:
            if self._queued and (taken := self._take_queued(max_calls)):
                return taken
            self._lane_waits = wait_ms > 0
        events = self._front.recv_batch_details(max_calls, wait_ms)
        self._lane_waits = False
        if events is None:
            return None
        now = time.monotonic()
        # Calls that were there already may have come as soon as the lane had taken those before them.
        arrived_at = self._taken_at or called_at if now - called_at < IMMEDIATE_SECONDS else called_at
        self._taken_at = now
        return Taken(events, arrived_at)

    def _take_queued(self, max_calls: int) -> Taken | None:
        events: list[DetailedEvent] = []
        now, arrived_at = time.monotonic(), 0.0
        while self._queued and len(events) < max_calls:
            _, (at, event, size) = self._queued.popitem(last=False)
            arrived_at = arrived_at or at - CHECK_INTERVAL_SECONDS
            kind, call_id, method_id, payload, key, details = event
            if size is not None:
                self._admission.release(size)
            if details is not None and details[2] is not None:
                details = (details[0], details[1], details[2] - (now - at))
            events.append((kind, call_id, method_id, payload, key, details))
        return Taken(events, arrived_at) if events else None

    def run(self) -> None:
        """Take calls while the lane is busy, until the queue is closed."""
        while not self._closed.wait(CHECK_INTERVAL_SECONDS):
            while self._queue_or_refuse():
                continue

    def _queue_or_refuse(self) -> bool:
        """Take what waits for the lane; return whether there may be more."""
        with self._turn:
            events = [] if self._lane_waits else self._front.recv_batch_details(MAX_TAKEN, 0) or []
            now = time.monotonic()
            self._responder.note(events, now)
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
        """Drop a call that its caller has cancelled; the lane hears of it where it has the call already."""
        queued = self._queued.pop(event[1], None)
        if queued is None:
            self._queued[event[1]] = _Queued(now, event, None)
        elif queued.size is not None:
            self._admission.release(queued.size)

    def close(self) -> None:
        """Let the overflow thread end."""
        self._closed.set()
