"""The batch lane: a thread that answers batches of hot calls, each batch with one write to the store.

Under load the lane reads and sends the next batch while the store executes the previous one, so that neither waits for
the other.

It only handles the common case. Calls that one command cannot answer are delegated to the event loop, so rare cases
have one implementation.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
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
from canuse_server.api.hotpath.decisions import DECISIONS, count_decision
from canuse_server.api.hotpath.executor import without_store
from canuse_server.api.hotpath.method import RETRYABLE, HotMethod
from canuse_server.api.metadata import Metadata, check_metadata, required_durability
from canuse_server.api.methods import Method
from canuse_server.api.ratelimit.method import ShouldRateLimit
from canuse_server.domain.durability import Durability
from canuse_server.runtime.counters import Histogram, ThreadHistograms
from canuse_server.store.errors import OutcomeUnknownError, StoreError, StoreUnavailableError
from canuse_server.store.redis import stats
from canuse_server.store.redis.blocking_connection import BlockingConnection
from canuse_server.store.redis.client import TIME, Store, time_ms
from canuse_server.store.redis.replies import NoScriptError, ReadOnlyError, RedirectError, check
from canuse_server.transport.limits import MAX_MESSAGE_BYTES
from canuse_server.transport.native.call_queue import CallQueue
from canuse_server.transport.native.calls import Call
from canuse_server.transport.native.durable_writer import DurableWriter
from canuse_server.transport.native.request_cache import RequestCache
from canuse_server.transport.native.responder import Responder


class BatchSize(NamedTuple):
    """The sizes of batches."""

    max_calls: int
    pipeline_calls: int
    """Number of calls from which on the next batch is sent before the replies to this one are read: more calls are
    likely to be waiting. Under less load that would only make the batches smaller."""


CHECKS: Final = BatchSize(40, 32)
"""After a batch with checks: they cost the store little, so there is little to gain from working at the same time."""
WRITES: Final = BatchSize(16, 8)
"""After a batch of writes, which take the store about as long as the server."""
MIN_SINGLE_BATCHES: Final = 16
"""Number of batches of one call in succession after which the lane polls for replies: there is one call in flight."""
MAX_WAIT_MS: Final = 250
"""Maximum time of one wait for calls: closing the front wakes only one of the threads that wait."""
DRAIN_SECONDS: Final = 1.0
"""Maximum time that a draining lane accepts calls, while clients notice the new health status."""
RECHECK_SECONDS: Final = 0.001
"""Time after reading calls from which on their deadlines are checked again before they are sent."""
BATCH_BOUNDS: Final = (1, 2, 4, 8, 16, 24, 32, 40)
"""Upper bounds of the numbers of calls in a batch, for metrics."""
RETRYABLE_ERRORS: Final = (*RETRYABLE, NoScriptError)
_MEMORY: Final = Durability.MEMORY
_NO_DETAILS: Final = ((), "", None)


class _Batch(NamedTuple):
    """Calls that were sent together. If `timed`, the first reply is that to TIME, else `manual_now_ms` is the time."""

    connection: BlockingConnection
    calls: deque[Call]
    timed: bool
    manual_now_ms: int | None
    deadline: float
    """The deadline for the replies."""


class Lane(threading.Thread):
    """A thread with its own connections to the store."""

    def __init__(
        self,
        responder: Responder,
        call_queue: CallQueue,
        methods: Mapping[int, HotMethod | Method],
        dispatcher: Dispatcher,
        store: Store,
        delegate: Callable[[int, CallContext, bytes], None],
        cancel: Callable[[int], None],
    ) -> None:
        super().__init__(name="canuse-lane", daemon=True)
        self._responder = responder
        self._is_traced = responder.tracer is not None
        self._call_queue = call_queue
        self._methods = methods
        # ShouldRateLimit itself answers a request that is too large: on an error, Envoy would let its request through.
        self._max_bytes = {
            method_id: MAX_MESSAGE_BYTES if isinstance(method, ShouldRateLimit) else method_bytes(method.path)
            for method_id, method in methods.items()
        }
        self._authorizer = dispatcher.authorizer
        self._store = store
        self._caches: dict[Environment, RequestCache] = {}
        self._router = store.connection_router(store.timeout_seconds)
        self._delegate = delegate
        self._cancel = cancel
        self._promised_level = store.promise.level
        # Writes that need no confirmation are as fast as checks and share their connection.
        self._durable_writer = DurableWriter(self, store, dispatcher.admission) if self._promised_level else None
        self.batch_calls: ThreadHistograms[str] = ThreadHistograms(BATCH_BOUNDS)
        self._round_trips = Histogram(stats.ROUND_TRIP_BOUNDS)
        """Of the thread, once it runs."""
        self.drained = threading.Event()
        self._draining = False
        self._drain_until = 0.0
        self._batch_size = CHECKS
        self._single_batches = 0
        """Number of batches of one call since the last one that was larger."""
        self._in_flight: deque[_Batch] = deque()
        """Batches whose replies are due, oldest first: at most two for each connection."""
        self._retire = False
        """Whether the server that has just replied is no longer the master."""
        self._arrived_at = self._read_at = 0.0

    def run(self) -> None:
        """Serve until the front is closed."""
        batch_calls = self.batch_calls.own("lane")
        self._round_trips = stats.ROUND_TRIPS.own("lane")
        if self._durable_writer is not None:
            self._durable_writer.start()
        while True:
            draining, drain_until = self._draining, self._drain_until
            received = self._call_queue.take(self._batch_size.max_calls, 0 if self._in_flight else MAX_WAIT_MS)
            if received is None:
                break
            writes_sent = 0
            events, self._arrived_at = received
            if calls := self._divert_durable_writes(self._read(events)):
                batch_calls.observe(len(calls))
                writes_sent = self._send_all(calls)
            max_in_flight = writes_sent if len(events) >= self._batch_size.pipeline_calls else 0
            while len(self._in_flight) > max_in_flight:
                self._answer(self._in_flight[0])
            # All calls from before `drain` are answered when no more arrive for a while or, under steady load, when the
            # time is over.
            if draining and not self._in_flight and (not events or time.monotonic() > drain_until):
                if self._durable_writer is not None:
                    self._durable_writer.wait_until_idle()
                self.drained.set()
        if self._durable_writer is not None:
            self._durable_writer.stop()
        self._router.close()

    def drain(self) -> None:
        """Answer the calls that have already arrived, set `drained`, and refuse all later calls."""
        self._drain_until = time.monotonic() + DRAIN_SECONDS
        self._draining = True

    def give_up(self) -> None:
        """End all waits for the store. The outcome of calls that were sent remains unknown."""
        self._router.give_up()
        if self._durable_writer is not None:
            self._durable_writer.give_up()

    def _read(self, events: "list[DetailedEvent]") -> list[Call]:
        """Return the calls among the events that must be sent to the store; answer the others."""
        calls: list[Call] = []
        is_drained, now = self.drained.is_set(), time.monotonic()
        self._read_at = now
        for kind, call_id, method_id, payload, client_key, details in events:
            if kind != EVENT_CALL or payload is None:
                if kind == EVENT_CANCEL:
                    self._cancel(call_id)
                continue
            metadata, _, seconds_left = details or _NO_DETAILS
            if is_drained:
                self._responder.fail(call_id, shutting_down())
            elif seconds_left is not None and seconds_left <= 0:
                self._responder.fail(call_id, deadline_passed())
            else:
                deadline = math.inf if seconds_left is None else now + seconds_left
                if call := self._plan_call(call_id, method_id, payload, client_key, metadata, deadline):
                    calls.append(call)
        return calls

    def _divert_durable_writes(self, calls: list[Call]) -> list[Call]:
        """Pass writes that need a confirmation to the durable writer; return the other calls."""
        if self._durable_writer is None:
            return calls
        if writes := [call for call in calls if call.request.method.writes]:
            self._durable_writer.put(writes)
        return [call for call in calls if not call.request.method.writes]

    def _plan_call(
        self,
        call_id: int,
        method_id: int,
        payload: bytes,
        client_key: bytes | str | None,
        metadata: Metadata,
        deadline: float,
    ) -> Call | None:
        """Return a call to send to the store, or None if it was answered or delegated to the event loop."""
        method = self._methods[method_id]
        durability = _MEMORY
        try:
            metadata_size = check_metadata(metadata) if metadata else 0
            if len(payload) > MAX_MESSAGE_BYTES:
                raise message_too_large(len(payload), MAX_MESSAGE_BYTES)
            # Without this metadata the front passes the client's address, a string.
            credentials = client_key if isinstance(client_key, bytes) else None
            caller = self._authorizer.authorize(method.path, credentials)
            if len(payload) > self._max_bytes[method_id]:
                raise too_large(method.path, len(payload))
            if metadata and method.writes:
                durability = required_durability(metadata)
            is_promised = durability is _MEMORY or not durability & ~self._promised_level
            # The dispatcher, to which the call is delegated, checks a user token completely.
            if is_promised and not caller.has_token and not isinstance(method, Method):
                cache = self._caches.get(caller.env)
                if cache is None:
                    cache = self._caches[caller.env] = RequestCache(caller.env)
                try:
                    request = cache.request(method_id, method, payload)
                    parts = (call_id, payload, request, cache, caller, self._arrived_at, deadline, metadata_size)
                    return tuple.__new__(Call, parts)  # In half the time of a call of Call.
                except RETRYABLE_ERRORS:
                    durability = _MEMORY  # The event loop also keeps the server's promise.
            context = self._context(method.path, caller, metadata_size, durability, self._arrived_at, deadline)
            self._delegate(call_id, context, payload)
        except ApiError as error:
            self._responder.fail(call_id, error)
        except Exception as error:  # noqa: BLE001 - a defect must not end the lane; `to_api_error` logs it
            self._responder.fail(call_id, to_api_error(method.path, error))
        return None

    def _send_all(self, calls: list[Call]) -> int:
        """Send the commands of all calls, in one write to each node; return the number of writes."""
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
        """Send the commands of calls in one write."""
        if connection.is_outdated():
            while any(batch.connection is connection for batch in self._in_flight):
                self._answer(self._in_flight[0])
        deadline = connection.begin()
        try:
            connection.make_ready(idle=all(batch.connection is not connection for batch in self._in_flight))
        except StoreUnavailableError as error:
            self._router.failed()
            self.fail_unsent(calls, error)
            return
        # The deadlines were checked when the calls were read, usually just before.
        if time.monotonic() > self._read_at + RECHECK_SECONDS and not (
            calls := self.fail_expired(calls, time.monotonic())
        ):
            return
        packed, timed, manual_now_ms = [TIME], False, self._store.manual_now_ms
        for call in calls:
            packed.append(call.request.packed)
            timed = timed or not call.request.method.writes
        self._batch_size = CHECKS if timed else WRITES
        # All checks of the batch use one reading of the clock; scripts read it themselves.
        timed = timed and manual_now_ms is None
        self._in_flight.append(_Batch(connection, deque(calls), timed, manual_now_ms, deadline))
        try:
            connection.send(b"".join(packed if timed else packed[1:]))
        except Exception as error:  # noqa: BLE001 - after any error every call must end
            self._abort(connection, error)

    def fail_expired(self, calls: list[Call], now: float) -> list[Call]:
        """Fail the calls whose deadline has passed; return the others."""
        if all(call.deadline > now for call in calls):
            return calls
        for call in calls:
            if call.deadline <= now:
                self._responder.fail(call.id, deadline_passed())
        return [call for call in calls if call.deadline > now]

    def _answer(self, batch: _Batch) -> None:
        """Read the replies to the oldest batch and respond to its calls."""
        connection = batch.connection
        connection.deadline = batch.deadline
        # With other calls in flight, polling would take the CPU time from the front that reads them.
        self._single_batches = self._single_batches + 1 if len(batch.calls) == 1 else 0
        connection.polls = self._single_batches > MIN_SINGLE_BATCHES
        sent_at, size, is_traced = batch.deadline - self._store.timeout_seconds, len(batch.calls), self._is_traced
        try:
            now, calls = self._receive_now(batch), batch.calls
            while calls:
                reply = connection.receive()
                if is_traced:
                    self._responder.note_round_trip(calls[0], sent_at, size)
                # The call is removed only now: if its reply does not arrive, it is among the lost ones.
                self.respond(calls.popleft(), reply, now)
            self._in_flight.popleft()
            self._round_trips.observe(time.monotonic() - sent_at)
        except Exception as error:  # noqa: BLE001 - after any error every call must end, on a new connection
            self._abort(connection, error)
        if self._retire:
            connection.retire()
            self._retire = False

    def _abort(self, connection: BlockingConnection, error: Exception) -> None:
        """Close a connection after an error, and end the calls whose replies are lost."""
        connection.abort(error)
        self._router.failed()
        lost = [batch for batch in self._in_flight if batch.connection is connection]
        self._in_flight = deque(batch for batch in self._in_flight if batch.connection is not connection)
        for batch in lost:
            self.note_round_trips(batch.calls, batch.deadline - self._store.timeout_seconds, error)
            self.fail_lost(batch.calls, error)

    def _receive_now(self, batch: _Batch) -> int | Exception:
        """Return the time for the checks of a batch, or the store's error. Writes do not need it."""
        if not batch.timed:
            return batch.manual_now_ms or 0
        now = batch.connection.receive()
        return now if isinstance(now, Exception) else time_ms(now)

    def note_round_trips(self, calls: Collection[Call], sent_at: float, error: Exception | None = None) -> None:
        """Note that the replies to calls that were sent with one write have arrived, or were lost by an error."""
        if self._is_traced:
            for call in calls:
                self._responder.note_round_trip(call, sent_at, len(calls), error)

    def fail(self, call: Call, error: ApiError) -> None:
        """End a call with an error."""
        self._responder.fail(call.id, error)

    def fail_unsent(self, calls: Iterable[Call], error: StoreUnavailableError) -> None:
        """End calls that were not sent to the store."""
        for call in calls:
            self._without_store(call, error)

    def fail_lost(self, calls: Iterable[Call], error: Exception) -> None:
        """End calls whose replies were lost: a write has an unknown outcome, a check is repeated unless it timed
        out."""
        for call in calls:
            method = call.request.method
            if method.writes:
                self._responder.fail(call.id, to_api_error(method.path, OutcomeUnknownError(str(error))))
            elif isinstance(error, TimeoutError):
                self._without_store(call, StoreUnavailableError(str(error)))
            else:
                self._delegate_call(call)

    def _without_store(self, call: Call, error: StoreError) -> None:
        """Respond to a call for which the store is unavailable."""
        method, plan = call.request.method, call.request.plan
        try:
            self._responder.ok(call.id, without_store(method, plan, error))
        except ApiError as api_error:
            self._responder.fail(call.id, api_error)
        except StoreError:
            self._responder.fail(call.id, to_api_error(method.path, error))

    def respond(self, call: Call, reply: object, now: int | Exception, unconfirmed: Exception | None = None) -> None:
        """Respond with the store's reply; `unconfirmed` is the error if the write is not confirmed."""
        request = call.request
        method = request.method
        try:
            # Only errors are passed to `check`, which raises them: one more function for each reply is 1 % of a check.
            if isinstance(reply, Exception):
                check(reply)
            if isinstance(now, Exception):
                now = 0 if method.writes else cast("int", check(now))
            answer = call.cache.respond(request, reply, now)
            count_decision(DECISIONS.own(), call.cache.env.environment, method, request.plan, answer)
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
        """Delegate a redirected call to the event loop, which finds its node; with a single server there is no
        other."""
        self._retire = self._retire or isinstance(error, ReadOnlyError)
        if self._store.endpoint.is_one_server:
            self._without_store(call, error)
        else:
            self._delegate_call(call)

    def _delegate_call(self, call: Call) -> None:
        """Delegate a call to the event loop, which also keeps the server's promise of durability."""
        path, required = call.request.method.path, Durability.MEMORY
        context = self._context(path, call.caller, call.metadata_bytes, required, call.arrived_at, call.deadline)
        self._delegate(call.id, context, call.payload)

    @staticmethod
    def _context(
        path: str, caller: Caller, metadata_size: int, durability: Durability, arrived_at: float, deadline: float
    ) -> CallContext:
        return CallContext(caller.env, caller.principal, path, metadata_size, durability, arrived_at, deadline)
