"""The lane's writes that the store must confirm. A thread of their own sends them in groups, with one confirmation
each.

While a connection waits for the disk or the replicas, it answers nothing else, so checks would wait for the disk as
well. Therefore these writes have their own thread and connections.
"""

import threading
import time
from collections.abc import Collection, Iterable
from typing import Protocol

from hiredis import ReplyError

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.errors import ApiError
from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.keys import bucket_of, bucket_tag
from canuse_server.store.redis.blocking_connection import BlockingConnection
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.durability import Confirmation
from canuse_server.store.redis.replies import is_redirect
from canuse_server.transport.native.calls import Call


class CallCompleter(Protocol):
    """Ends the calls with a response or an error."""

    def respond(self, call: Call, reply: object, now: int | Exception, unconfirmed: Exception | None = None) -> None:
        """Respond with the store's reply; `unconfirmed` is the error if the write is not confirmed."""

    def fail_expired(self, calls: list[Call], now: float) -> list[Call]:
        """Fail the calls whose deadline has passed; return the others."""

    def fail(self, call: Call, error: ApiError) -> None:
        """End a call with an error."""

    def fail_unsent(self, calls: Iterable[Call], error: StoreUnavailableError) -> None:
        """End calls that were not sent to the store."""

    def fail_lost(self, calls: Iterable[Call], error: Exception) -> None:
        """End calls whose replies were lost."""

    def note_round_trips(self, calls: Collection[Call], sent_at: float, error: Exception | None = None) -> None:
        """Note that the replies to calls that were sent with one write have arrived, or were lost by an error."""


class DurableWriter(threading.Thread):
    """A thread with its own connections to the store."""

    def __init__(self, completer: CallCompleter, store: Store, admission: AdmissionLimit) -> None:
        super().__init__(name="canuse-confirmed", daemon=True)
        self._completer = completer
        self._admission = admission
        self._promise = store.promise
        self._timeout_seconds = store.write_timeout_seconds(store.promise.level)
        self._router = store.connection_router(self._timeout_seconds)
        self._changed = threading.Condition()
        self._waiting: list[Call] = []
        self._busy = self._stopping = False

    def put(self, calls: list[Call]) -> None:
        """Queue calls; fail those beyond the admission limit."""
        admitted = [call for call in calls if self._admit(call)]
        with self._changed:
            self._waiting += admitted
            self._changed.notify_all()

    def _admit(self, call: Call) -> bool:
        try:
            self._admission.acquire(call.size)
        except ApiError as error:
            self._completer.fail(call, error)
            return False
        return True

    def _release(self, calls: Iterable[Call]) -> None:
        """Release calls from the admission limit, just before they end: a client may call again at once."""
        self._admission.release(*(call.size for call in calls))

    def wait_until_idle(self) -> None:
        """Wait until all calls have ended."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._busy)

    def give_up(self) -> None:
        """End all waits for the store."""
        self._router.give_up()

    def stop(self) -> None:
        """Stop the thread after all calls have ended, and wait for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self.join()

    def run(self) -> None:
        """Execute calls until `stop`."""
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                calls, self._waiting = self._waiting, []
                self._busy = True
            if not calls:
                break
            self._execute(calls)
        self._router.close()

    def _execute(self, calls: list[Call]) -> None:
        """Send all calls in one write to each node, wait for the confirmations, and respond to each call."""
        parts: dict[BlockingConnection, list[Call]] = {}
        for call in calls:
            parts.setdefault(self._connection_for(call), []).append(call)
        sent = [(connection, part, self._send(connection, part)) for connection, part in parts.items()]
        for connection, part, confirmation in sent:
            if confirmation is not None:
                self._receive(connection, part, confirmation)

    def _connection_for(self, call: Call) -> BlockingConnection:
        return self._router.single or self._router.connection_for(call.request.plan.user_id)

    def _send(self, connection: BlockingConnection, calls: list[Call]) -> Confirmation | None:
        """Send calls and the commands that confirm them. Return None if that failed, and the calls have ended."""
        connection.begin()
        try:
            connection.make_ready(idle=True)
        except StoreUnavailableError as error:
            self._router.failed()
            self._release(calls)
            self._completer.fail_unsent(calls, error)
            return None
        now = time.monotonic()
        self._release(call for call in calls if call.deadline <= now)
        calls[:] = self._completer.fail_expired(calls, now)
        if not calls:
            return None
        confirmation = self._confirmation(calls[0])
        try:
            connection.send(b"".join([*(call.request.packed for call in calls), confirmation.packed]))
        except Exception as error:  # noqa: BLE001 - after any error every call must end
            self._abort(connection, calls, error)
            return None
        return confirmation

    def _receive(self, connection: BlockingConnection, calls: list[Call], confirmation: Confirmation) -> None:
        try:
            replies = [connection.receive() for _ in range(len(calls) + confirmation.replies)]
            confirmed = replies[len(calls) :]
            if confirmation.is_redirected(confirmed):
                confirmed = self._confirm_by_another_key(connection, calls, replies) or confirmed
        except Exception as error:  # noqa: BLE001 - after any error every call must end, on a new connection
            self._abort(connection, calls, error)
            return
        if any(isinstance(reply, ReplyError) and str(reply).startswith("READONLY") for reply in replies):
            connection.retire()
        self._completer.note_round_trips(calls, connection.deadline - self._timeout_seconds)
        self._release(calls)
        unconfirmed = confirmation.error(confirmed)
        for call, reply in zip(calls, replies, strict=False):
            self._completer.respond(call, reply, 0, unconfirmed)

    def _confirmation(self, call: Call) -> Confirmation:
        """Return the commands that confirm all writes on the node of a call."""
        tag = "" if self._router.single else bucket_tag(bucket_of(call.request.plan.user_id))
        return self._promise.confirmation(self._promise.level, tag)

    def _confirm_by_another_key(
        self, connection: BlockingConnection, calls: list[Call], replies: list[object]
    ) -> list[object] | None:
        """Confirm with the key of another call, since the key of the first has moved. Return None if all have moved."""
        for call, reply in zip(calls, replies, strict=False):
            if not is_redirect(reply):
                confirmation = self._confirmation(call)
                connection.send(confirmation.packed)
                return [connection.receive() for _ in range(confirmation.replies)]
        return None

    def _abort(self, connection: BlockingConnection, calls: list[Call], error: Exception) -> None:
        connection.abort(error)
        self._router.failed()
        self._completer.note_round_trips(calls, connection.deadline - self._timeout_seconds, error)
        self._release(calls)
        self._completer.fail_lost(calls, error)
