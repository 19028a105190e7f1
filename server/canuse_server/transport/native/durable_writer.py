"""The writes of a lane that the store is to confirm: a thread that sends all that have come since the last time.

A connection on which the store waits for its disk or its replicas answers nothing else meanwhile, so that checks would
wait for the disk. These writes have a thread and a connection of their own, and share one wait, however many there are.
"""

import threading
import time
from collections.abc import Iterable
from typing import Protocol

from hiredis import ReplyError

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.errors import ApiError
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.store.keys import key_of, tag_of
from canuse_server.store.redis.blocking_connection import BlockingConnection
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.durability import Confirmation
from canuse_server.store.redis.replies import is_redirect
from canuse_server.transport.native.calls import Call


class Answers(Protocol):
    """Who answers the calls."""

    def respond(self, call: Call, reply: object, now: object, unconfirmed: Exception | None = None) -> None:
        """Answer a call by the store's reply; `unconfirmed` is why its write is not confirmed, if it is not."""

    def in_time(self, calls: list[Call], now: float) -> list[Call]:
        """Return the calls whose deadline has not passed; the others are answered."""

    def turn_away(self, call: Call, error: ApiError) -> None:
        """Answer a call that is not to be made."""

    def refuse(self, calls: Iterable[Call], error: StoreUnavailableError) -> None:
        """Answer calls that were not sent."""

    def lose(self, calls: Iterable[Call], error: Exception) -> None:
        """Answer calls whose replies will not come."""


class DurableWriter(threading.Thread):
    """One thread with connections of its own to the store."""

    def __init__(self, answers: Answers, store: Store, admission: AdmissionLimit) -> None:
        super().__init__(name="canuse-confirmed", daemon=True)
        self._answers = answers
        self._admission = admission
        self._promise = store.promise
        self._router = store.connection_router(store.write_timeout_seconds(store.promise.level))
        self._changed = threading.Condition()
        self._waiting: list[Call] = []
        self._busy = self._ending = False

    def put(self, calls: list[Call]) -> None:
        """Have some calls made, as far as the process takes them on; each is answered when that is done."""
        taken_on = [call for call in calls if self._is_taken_on(call)]
        with self._changed:
            self._waiting += taken_on
            self._changed.notify_all()

    def _is_taken_on(self, call: Call) -> bool:
        try:
            self._admission.acquire(call.size)
        except ApiError as error:
            self._answers.turn_away(call, error)
            return False
        return True

    def _leave(self, calls: Iterable[Call]) -> None:
        """Note that calls wait no more. They are answered next, and who has an answer may call again at once."""
        self._admission.release(*(call.size for call in calls))

    def wait_until_idle(self) -> None:
        """Wait until all calls have been answered."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._busy)

    def give_up(self) -> None:
        """Wait no longer for the store."""
        self._router.give_up()

    def end(self) -> None:
        """Let the thread end once all calls have been answered, and wait for that."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self.join()

    def run(self) -> None:
        """Serve until `end`."""
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._ending)
                calls, self._waiting = self._waiting, []
                self._busy = True
            if not calls:
                break
            self._execute(calls)
        self._router.close()

    def _execute(self, calls: list[Call]) -> None:
        """Send all calls in one write to each node, wait until they are confirmed, and answer each by its reply."""
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
        """Send some calls and what has them confirmed; None: they have been answered, since that was not possible."""
        connection.begin()
        try:
            connection.make_ready(idle=True)
        except StoreUnavailableError as error:
            self._router.failed()
            self._leave(calls)
            self._answers.refuse(calls, error)
            return None
        now = time.monotonic()
        self._leave(call for call in calls if call.deadline <= now)
        calls[:] = self._answers.in_time(calls, now)
        if not calls:
            return None
        confirmation = self._confirmation(calls[0])
        try:
            connection.send(b"".join([*(call.request.packed for call in calls), confirmation.packed]))
        except Exception as error:  # noqa: BLE001 - whatever broke, every call is answered
            self._break_off(connection, calls, error)
            return None
        return confirmation

    def _receive(self, connection: BlockingConnection, calls: list[Call], confirmation: Confirmation) -> None:
        try:
            replies = [connection.receive() for _ in range(len(calls) + confirmation.replies)]
            confirmed = replies[len(calls) :]
            if confirmation.is_elsewhere(confirmed):
                confirmed = self._confirm_elsewhere(connection, calls, replies) or confirmed
        except Exception as error:  # noqa: BLE001 - whatever broke, every call is answered and the replies start afresh
            self._break_off(connection, calls, error)
            return
        if any(isinstance(reply, ReplyError) and str(reply).startswith("READONLY") for reply in replies):
            connection.retire()
        self._leave(calls)
        lacking = confirmation.fault(confirmed)
        unconfirmed = OutcomeUnknownError(lacking) if lacking else None
        for call, reply in zip(calls, replies, strict=False):
            self._answers.respond(call, reply, 0, unconfirmed)

    def _confirmation(self, call: Call) -> Confirmation:
        """Return what has all writes on the node of a call confirmed."""
        tag = "" if self._router.single else tag_of(key_of(call.request.plan.command.command))
        return self._promise.confirmation(self._promise.level, tag)

    def _confirm_elsewhere(
        self, connection: BlockingConnection, calls: list[Call], replies: list[object]
    ) -> list[object] | None:
        """Confirm the calls that were made here by the key of one, as the first one's has moved. None: none was."""
        for call, reply in zip(calls, replies, strict=False):
            if not is_redirect(reply):
                confirmation = self._confirmation(call)
                connection.send(confirmation.packed)
                return [connection.receive() for _ in range(confirmation.replies)]
        return None

    def _break_off(self, connection: BlockingConnection, calls: list[Call], error: Exception) -> None:
        connection.break_off(error)
        self._router.failed()
        self._leave(calls)
        self._answers.lose(calls, error)
