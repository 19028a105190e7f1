"""The queue from which the lanes take calls.

The front keeps all that comes until somebody takes it, without a bound. So while no lane is waiting for calls, a
overflow thread takes them: it keeps as many as may be, and refuses the rest at once.
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
"""How often the overflow thread looks whether calls have to be taken."""
IMMEDIATE_SECONDS: Final = 0.001
"""How long it takes at most to get calls that are there already."""
MAX_TAKEN: Final = 256


class Taken(NamedTuple):
    """Some calls, and when the first of them came at the earliest, by `time.monotonic`."""

    events: "list[DetailedEvent]"
    arrived_at: float


class _Kept(NamedTuple):
    """What waits for a lane: a call, or that another one was taken back."""

    at: float
    event: "DetailedEvent"
    size: int | None
    """What the call counts for; None: it is no call."""


class CallQueue(threading.Thread):
    """Gives calls to the lanes, in the order in which they came."""

    def __init__(self, front: NativeGrpcFront, admission: AdmissionLimit, responder: Responder) -> None:
        super().__init__(name="canuse-overflow", daemon=True)
        self._front = front
        self._admission = admission
        self._responder = responder
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._waiting: set[int] = set()
        self._left_at: dict[int, float] = {}
        self._closed = threading.Event()
        # A lane that waits would not hear of calls that the overflow thread takes. So it never takes any while a lane
        # waits, and no lane begins to wait while it takes some.
        self._turn = threading.Lock()

    def take(self, most: int, wait_ms: int) -> Taken | None:
        """Return calls as soon as there are any, none after a time; None: the front is closed."""
        lane, asked = threading.get_ident(), time.monotonic()
        with self._turn:
            if self._kept and (taken := self._take_kept(most)):
                return taken
            if wait_ms:
                self._waiting.add(lane)
        events = self._front.recv_batch_details(most, wait_ms)
        self._waiting.discard(lane)
        if events is None:
            return None
        now = time.monotonic()
        # What was there already may have come as soon as the lane had taken the calls before it.
        arrived_at = self._left_at.get(lane, asked) if now - asked < IMMEDIATE_SECONDS else asked
        self._left_at[lane] = now
        return Taken(events, arrived_at)

    def _take_kept(self, most: int) -> Taken | None:
        events: list[DetailedEvent] = []
        now, arrived_at = time.monotonic(), 0.0
        while self._kept and len(events) < most:
            _, (at, event, size) = self._kept.popitem(last=False)
            arrived_at = arrived_at or at - CHECK_INTERVAL_SECONDS
            kind, call_id, method_id, payload, key, details = event
            if size is not None:
                self._admission.release(size)
            if details is not None and details[2] is not None:
                details = (details[0], details[1], details[2] - (now - at))
            events.append((kind, call_id, method_id, payload, key, details))
        return Taken(events, arrived_at) if events else None

    def run(self) -> None:
        """Look after the calls until the queue is closed."""
        while not self._closed.wait(CHECK_INTERVAL_SECONDS):
            while self._keep_or_refuse():
                continue

    def _keep_or_refuse(self) -> bool:
        """Take what waits for a lane; return whether there may be more."""
        with self._turn:
            events = [] if self._waiting else self._front.recv_batch_details(MAX_TAKEN, 0) or []
            now = time.monotonic()
            self._responder.note(events, now)
            for event in events:
                if event[0] == EVENT_CALL:
                    self._keep(event, now)
                elif event[0] == EVENT_CANCEL:
                    self._cancel(event, now)
            return bool(events)

    def _keep(self, event: "DetailedEvent", now: float) -> None:
        _, call_id, _, payload, _, details = event
        size = len(payload or b"")
        try:
            if details:
                size += check_metadata(details[0])
            self._admission.acquire(size)
        except ApiError as error:
            self._responder.fail(call_id, error)
        else:
            self._kept[call_id] = _Kept(now, event, size)

    def _cancel(self, event: "DetailedEvent", now: float) -> None:
        """Forget a call that its caller has taken back; where a lane has it already, the lane is to hear of that."""
        kept = self._kept.pop(event[1], None)
        if kept is None:
            self._kept[event[1]] = _Kept(now, event, None)
        elif kept.size is not None:
            self._admission.release(kept.size)

    def close(self) -> None:
        """Let the overflow thread go."""
        self._closed.set()
