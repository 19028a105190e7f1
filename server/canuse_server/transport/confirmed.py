"""The writes of a lane that the store is to confirm: a thread that sends all that have come since the last time.

A connection on which the store waits for its disk or its replicas answers nothing else meanwhile, so that checks would
wait for the disk. These writes have a thread and a connection of their own, and share one wait, however many there are.
"""

import threading
import time
from collections.abc import Iterable
from typing import Protocol

from canuse_server.store.durability import Promise
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.store.lane_connection import LaneConnection
from canuse_server.transport.calls import PAUSE_SECONDS, Call


class Answers(Protocol):
    """Who answers the calls."""

    def conclude(self, call: Call, reply: object, now: object, unconfirmed: Exception | None = None) -> None:
        """Answer a call by the store's reply; `unconfirmed` is why its write is not confirmed, if it is not."""

    def refuse(self, calls: Iterable[Call], error: StoreUnavailableError) -> None:
        """Answer calls that were not sent."""

    def lose(self, calls: Iterable[Call], error: Exception) -> None:
        """Answer calls whose replies will not come."""


class ConfirmedWrites(threading.Thread):
    """One thread with one connection to the store."""

    def __init__(self, answers: Answers, connection: LaneConnection, promise: Promise) -> None:
        super().__init__(name="canuse-confirmed", daemon=True)
        self._answers = answers
        self._connection = connection
        self._confirmation = promise.confirmation(promise.level)
        self._changed = threading.Condition()
        self._waiting: list[Call] = []
        self._busy = self._ending = False
        self._paused_until = 0.0

    def put(self, calls: list[Call]) -> None:
        """Have some calls made; each is answered when that is done."""
        with self._changed:
            self._waiting += calls
            self._changed.notify_all()

    def wait_until_idle(self) -> None:
        """Wait until all calls have been answered."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._busy)

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
            self._travel(calls)
        self._connection.close()

    def _travel(self, calls: list[Call]) -> None:
        """Send all calls in one write, wait until they are confirmed, and answer each by its reply."""
        connection, confirmation = self._connection, self._confirmation
        connection.begin()
        try:
            if time.monotonic() < self._paused_until:
                raise StoreUnavailableError("the store did not answer in time a moment ago")
            if connection.is_stale():
                connection.close()
            connection.connect()
        except StoreUnavailableError as error:
            self._pause_after(error.__cause__)
            self._answers.refuse(calls, error)
            return
        try:
            connection.send(b"".join([*(call.request.packed for call in calls), confirmation.packed]))
            replies = [connection.receive() for _ in range(len(calls) + confirmation.replies)]
        except Exception as error:  # noqa: BLE001 - whatever broke, every call is answered and the replies start afresh
            connection.close()
            self._pause_after(error)
            self._answers.lose(calls, error)
            return
        lacking = confirmation.fault(replies[len(calls) :])
        unconfirmed = OutcomeUnknownError(lacking) if lacking else None
        for call, reply in zip(calls, replies, strict=False):
            self._answers.conclude(call, reply, 0, unconfirmed)

    def _pause_after(self, error: BaseException | None) -> None:
        """After a time-out answer at once for a while: else calls that wait here would wait one after the other."""
        if isinstance(error, TimeoutError):
            self._paused_until = time.monotonic() + PAUSE_SECONDS
