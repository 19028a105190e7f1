"""The batch lane: a thread that answers whole batches of hot calls with one write to the store.

Where calls pile up, the lane reads and sends the next batch while the store works on one, so that neither waits for the
other.

It knows the common case only. What one command can't answer it delegates to the event loop, where the servicer's own
path answers it: rare things have one implementation.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from pygrpc_native import EVENT_CALL, EVENT_CANCEL

if TYPE_CHECKING:
    from pygrpc_native._native import DetailedEvent

from canuse_server.api.bounds import method_bytes, too_large
from canuse_server.api.context import CallContext
from canuse_server.api.dispatch import Caller, Dispatcher
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, deadline_passed, message_too_large, shutting_down
from canuse_server.api.failures import to_api_error
from canuse_server.api.hotpath.executor import without_store
from canuse_server.api.hotpath.method import RETRYABLE, HotMethod
from canuse_server.api.metadata import (
    CALL_METADATA_BYTES,
    Metadata,
    metadata_bytes,
    required_durability,
    too_much_metadata,
)
from canuse_server.api.ratelimit.method import ShouldRateLimit
from canuse_server.domain.durability import Durability
from canuse_server.store.errors import OutcomeUnknownError, StoreError, StoreUnavailableError
from canuse_server.store.redis.blocking_connection import BlockingConnection
from canuse_server.store.redis.client import TIME, Store, time_ms
from canuse_server.store.redis.replies import NoScriptError, ReadOnlyError, RedirectError, check
from canuse_server.transport.limits import MESSAGE_BYTES
from canuse_server.transport.native.call_queue import CallQueue
from canuse_server.transport.native.calls import Call, LoopMethod
from canuse_server.transport.native.durable_writer import DurableWriter
from canuse_server.transport.native.request_cache import RequestCache
from canuse_server.transport.native.responder import Responder

BATCH: Final = 40
"""How many calls are taken at a time at most."""
BACKLOG: Final = 32
"""How many calls came at a time where more will be waiting: then the next batch goes ahead of the replies to this one.
Where few calls are under way, that would only make their batches smaller."""
MAX_WAIT_MS: Final = 250
"""How long a lane waits for calls at a time: closing the front wakes only one of those that wait."""
DRAIN_SECONDS: Final = 1.0
"""How long a lane that is asked to end goes on taking calls, at most; clients see the health status change."""
RECHECK_SECONDS: Final = 0.001
"""How long after calls were read it is looked again whether their deadlines have passed."""
RETRYABLE_ERRORS: Final = (*RETRYABLE, NoScriptError)
_NO_DETAILS: Final = ((), "", None)


class _Batch(NamedTuple):
    """Calls that were sent together. `timed`: the reply to TIME comes first; else `manual_now_ms` is the time."""

    connection: BlockingConnection
    calls: deque[Call]
    timed: bool
    manual_now_ms: int | None
    ends: float
    """Up to when the replies are waited for."""


class Lane(threading.Thread):
    """One thread with connections of its own to the store."""

    def __init__(
        self,
        responder: Responder,
        call_queue: CallQueue,
        methods: Mapping[int, HotMethod | LoopMethod],
        dispatcher: Dispatcher,
        store: Store,
        delegate: Callable[[int, CallContext, bytes], None],
        cancel: Callable[[int], None],
    ) -> None:
        super().__init__(name="canuse-lane", daemon=True)
        self._responder = responder
        self._call_queue = call_queue
        self._methods = methods
        # An error would let Envoy's request through: ShouldRateLimit itself answers one that is too large.
        self._max_bytes = {
            method_id: MESSAGE_BYTES if isinstance(method, ShouldRateLimit) else method_bytes(method.path)
            for method_id, method in methods.items()
        }
        self._authorizer = dispatcher.authorizer
        self._store = store
        self._caches: dict[Environment, RequestCache] = {}
        self._router = store.connection_router(store.timeout_seconds)
        self._delegate = delegate
        self._cancel = cancel
        self._promised = store.promise.level
        # With nothing to be confirmed a write is as quick as a check, and shares its connection.
        self._confirmed = DurableWriter(self, store, dispatcher.admission) if self._promised else None
        self.drained = threading.Event()
        self._draining = False
        self._drain_until = 0.0
        self._under_way: deque[_Batch] = deque()
        """Batches whose replies are due, in their order: for each connection two at most."""
        self._retire = False
        """Whether the server that has just answered is no master any more."""
        self._arrived_at = self._read_at = 0.0

    def run(self) -> None:
        """Serve until the front is closed."""
        if self._confirmed is not None:
            self._confirmed.start()
        while True:
            draining, drain_until = self._draining, self._drain_until
            taken = self._call_queue.take(BATCH, 0 if self._under_way else MAX_WAIT_MS)
            if taken is None:
                break
            sent = 0
            events, self._arrived_at = taken
            self._responder.note(events, self._arrived_at)
            if calls := self._put_writes_aside(self._read(events)):
                sent = self._send_all(calls)
            ahead = sent if len(events) >= BACKLOG else 0
            while len(self._under_way) > ahead:
                self._answer(self._under_way[0])
            # All that had come before the lane was asked to end has been answered when no more comes for a while; under
            # a steady load, when it has had time enough.
            if draining and not self._under_way and (not events or time.monotonic() > drain_until):
                if self._confirmed is not None:
                    self._confirmed.wait_until_idle()
                self.drained.set()
        if self._confirmed is not None:
            self._confirmed.end()
        self._router.close()

    def drain(self) -> None:
        """Answer the calls that have come by now, then refuse all others. `drained` is set in between."""
        self._drain_until = time.monotonic() + DRAIN_SECONDS
        self._draining = True

    def give_up(self) -> None:
        """Wait no longer for the store: what became of the calls that it was sent remains unknown."""
        self._router.give_up()
        if self._confirmed is not None:
            self._confirmed.give_up()

    def _read(self, events: "list[DetailedEvent]") -> list[Call]:
        """Return the calls among the events that are to be sent to the store; the others are answered here."""
        calls: list[Call] = []
        refused, now = self.drained.is_set(), time.monotonic()
        self._read_at = now
        for kind, call_id, method_id, payload, client_key, details in events:
            if kind != EVENT_CALL or payload is None:
                if kind == EVENT_CANCEL:
                    self._cancel(call_id)
                continue
            metadata, _, seconds_left = details or _NO_DETAILS
            size = metadata_bytes(metadata)
            if refused:
                self._responder.fail(call_id, shutting_down())
            elif seconds_left is not None and seconds_left <= 0:
                self._responder.fail(call_id, deadline_passed())
            elif size > CALL_METADATA_BYTES:
                self._responder.fail(call_id, too_much_metadata(size))
            elif len(payload) > MESSAGE_BYTES:
                self._responder.fail(call_id, message_too_large(len(payload), MESSAGE_BYTES))
            else:
                deadline = math.inf if seconds_left is None else now + seconds_left
                if call := self._call(call_id, method_id, payload, client_key, metadata, deadline, size):
                    calls.append(call)
        return calls

    def _put_writes_aside(self, calls: list[Call]) -> list[Call]:
        """Give the writes that are to be confirmed to the thread that makes them; return the rest."""
        if self._confirmed is None:
            return calls
        if writes := [call for call in calls if call.request.method.writes]:
            self._confirmed.put(writes)
        return [call for call in calls if not call.request.method.writes]

    def _call(
        self,
        call_id: int,
        method_id: int,
        payload: bytes,
        client_key: bytes | str | None,
        metadata: Metadata,
        deadline: float,
        metadata_size: int,
    ) -> Call | None:
        """Return a call that is to be sent to the store; None: it has been answered, or the event loop answers it."""
        method = self._methods[method_id]
        durability = Durability.MEMORY
        try:
            # The front gives the caller's address, a string, where there is no such metadata.
            credentials = client_key if isinstance(client_key, bytes) else None
            caller = self._authorizer.authorize(method.path, credentials)
            if len(payload) > self._max_bytes[method_id]:
                raise too_large(method.path, len(payload))
            if method.writes:
                durability = required_durability(metadata)
            is_promised = durability is Durability.MEMORY or not durability & ~self._promised
            if is_promised and not isinstance(method, LoopMethod):
                env = caller.env
                cache = self._caches.get(env) or self._caches.setdefault(env, RequestCache(env))
                try:
                    request = cache.request(method_id, method, payload)
                    return Call(call_id, payload, request, cache, caller, self._arrived_at, deadline, metadata_size)
                except RETRYABLE_ERRORS:
                    durability = Durability.MEMORY  # What the server promises holds on the event loop as well.
            context = self._context(method.path, caller, metadata_size, durability, self._arrived_at, deadline)
            self._delegate(call_id, context, payload)
        except ApiError as error:
            self._responder.fail(call_id, error)
        except Exception as error:  # noqa: BLE001 - a defect must not end the lane; `to_api_error` logs it
            self._responder.fail(call_id, to_api_error(method.path, error))
        return None

    def _send_all(self, calls: list[Call]) -> int:
        """Send the commands of all calls, in one write to each node that has some; return how many writes that took."""
        if self._router.single is not None:
            self._send(self._router.single, calls)
            return 1
        parts: dict[BlockingConnection, list[Call]] = {}
        for call in calls:
            parts.setdefault(self._router.connection_for(call.request.plan.user_id), []).append(call)
        for connection, part in parts.items():
            self._send(connection, part)
        return len(parts)

    def _send(self, connection: BlockingConnection, calls: list[Call]) -> None:
        """Send the commands of some calls in one write."""
        if connection.is_to_be_left():
            while any(batch.connection is connection for batch in self._under_way):
                self._answer(self._under_way[0])
        ends = connection.begin()
        try:
            connection.make_ready(idle=all(batch.connection is not connection for batch in self._under_way))
        except StoreUnavailableError as error:
            self._router.failed()
            self.refuse(calls, error)
            return
        # Their deadlines were looked at when they were read, which as a rule was just now.
        if time.monotonic() > self._read_at + RECHECK_SECONDS and not (calls := self.in_time(calls, time.monotonic())):
            return
        packed, timed, manual_now_ms = [TIME], False, self._store.manual_now_ms
        for call in calls:
            packed.append(call.request.packed)
            timed = timed or not call.request.method.writes
        # One reading of the clock serves all checks of the batch; scripts read it themselves.
        timed = timed and manual_now_ms is None
        self._under_way.append(_Batch(connection, deque(calls), timed, manual_now_ms, ends))
        try:
            connection.send(b"".join(packed if timed else packed[1:]))
        except Exception as error:  # noqa: BLE001 - whatever broke, every call is answered
            self._break_off(connection, error)

    def in_time(self, calls: list[Call], now: float) -> list[Call]:
        """Return the calls whose deadline has not passed; the others are answered, and must not be sent."""
        if all(call.deadline > now for call in calls):
            return calls
        for call in calls:
            if call.deadline <= now:
                self._responder.fail(call.id, deadline_passed())
        return [call for call in calls if call.deadline > now]

    def _answer(self, batch: _Batch) -> None:
        """Read the replies to the batch that was sent first and answer each call by its own."""
        connection = batch.connection
        connection.ends = batch.ends
        try:
            now = self._receive_now(batch)
            while batch.calls:
                reply = connection.receive()
                # Only now: should this reply be the one that does not come, the call is among those it is lost for.
                self.respond(batch.calls.popleft(), reply, now)
            self._under_way.popleft()
        except Exception as error:  # noqa: BLE001 - whatever broke, every call is answered and the replies start afresh
            self._break_off(connection, error)
        if self._retire:
            connection.retire()
            self._retire = False

    def _break_off(self, connection: BlockingConnection, error: Exception) -> None:
        """Close a connection; the replies to all that was sent on it are lost."""
        connection.break_off(error)
        self._router.failed()
        lost = [batch for batch in self._under_way if batch.connection is connection]
        self._under_way = deque(batch for batch in self._under_way if batch.connection is not connection)
        for batch in lost:
            self.lose(batch.calls, error)

    def _receive_now(self, batch: _Batch) -> object:
        """Return the time for the checks of a batch, or the store's error instead of it."""
        if not batch.timed:
            return batch.manual_now_ms
        now = batch.connection.receive()
        return now if isinstance(now, Exception) else time_ms(now)

    def turn_away(self, call: Call, error: ApiError) -> None:
        """Answer a call that is not to be made."""
        self._responder.fail(call.id, error)

    def refuse(self, calls: Iterable[Call], error: StoreUnavailableError) -> None:
        """Answer calls that were not sent."""
        for call in calls:
            self._without_store(call, error)

    def lose(self, calls: Iterable[Call], error: Exception) -> None:
        """Answer calls whose replies will not come: a write may have happened, a check can be made again in time."""
        for call in calls:
            method = call.request.method
            if method.writes:
                self._responder.fail(call.id, to_api_error(method.path, OutcomeUnknownError(str(error))))
            elif isinstance(error, TimeoutError):
                self._without_store(call, StoreUnavailableError(str(error)))
            else:
                self._delegate_call(call)

    def _without_store(self, call: Call, error: StoreError) -> None:
        """Answer a call that the store failed."""
        method, plan = call.request.method, call.request.plan
        try:
            self._responder.ok(call.id, without_store(method, plan, error))
        except ApiError as known:
            self._responder.fail(call.id, known)
        except StoreError:
            self._responder.fail(call.id, to_api_error(method.path, error))

    def respond(self, call: Call, reply: object, now: object, unconfirmed: Exception | None = None) -> None:
        """Answer a call by the store's reply; `unconfirmed` is why its write is not confirmed, if it is not."""
        method = call.request.method
        try:
            now_ms = 0 if method.writes else cast("int", check(now))
            answer = call.cache.respond(call.request, check(reply), now_ms)
            if unconfirmed is not None:
                raise unconfirmed
            self._responder.ok(call.id, answer)
        except ApiError as error:
            self._responder.fail(call.id, error)
        except RETRYABLE_ERRORS:
            self._delegate_call(call)
        except RedirectError as error:
            self._redirect(call, error)
        except StoreUnavailableError as error:
            self._without_store(call, error)
        except Exception as error:  # noqa: BLE001 - a defect must not end the lane; `to_api_error` logs it
            self._responder.fail(call.id, to_api_error(method.path, error))

    def _redirect(self, call: Call, error: RedirectError) -> None:
        """Let the event loop find out where a call that was not made is to be made; a single server is all there is."""
        self._retire = self._retire or isinstance(error, ReadOnlyError)
        if self._store.endpoint.is_one_server:
            self._without_store(call, error)
        else:
            self._delegate_call(call)

    def _delegate_call(self, call: Call) -> None:
        """Let the event loop answer a call: what the server promises holds there as well."""
        path, required = call.request.method.path, Durability.MEMORY
        context = self._context(path, call.caller, call.metadata_bytes, required, call.arrived_at, call.deadline)
        self._delegate(call.id, context, call.payload)

    @staticmethod
    def _context(
        path: str, caller: Caller, metadata_size: int, durability: Durability, arrived_at: float, deadline: float
    ) -> CallContext:
        return CallContext(caller.env, caller.principal, path, metadata_size, durability, arrived_at, deadline)
