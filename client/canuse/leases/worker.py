"""The leases of a client, and the thread that makes their calls."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any, Final

from canuse._sync.transport import Transport
from canuse._unavailable import is_no_answer
from canuse.errors import CanuseError
from canuse.leases import ending
from canuse.leases.account import Account
from canuse.leases.calls import Answer, Call, Extend, Record, Reserve, Settle
from canuse.leases.clock import clock
from canuse.leases.settings import Lease
from canuse.leases.table import Table
from canuse.leases.view import HeldLease, HeldLeases

MAX_TICK_SECONDS: Final = 0.25
"""How often accounts are looked at, at least, for what is due."""
PAUSE_SECONDS: Final = 1.0
"""After what time an account is looked at again that failed for an unknown reason."""
RETRY_SECONDS: Final = 0.1
"""After what time an account that is to be settled before the end is tried again."""
MAX_CALLS: Final = 8
"""How many calls of an account are made before those of others. Giving a lease back takes no more."""

log = logging.getLogger("canuse.leases")


class Worker:
    """Makes the calls of a client's leases in a thread of its own, which the first lease starts."""

    def __init__(
        self, leases: Mapping[str, Lease], transport: Transport, end: Callable[[], object] = lambda: None
    ) -> None:
        """Make calls by the given transport, which must not be closed before; `end` is called when all are made."""
        self._leases = leases
        self._transport = transport
        self._end = end
        self._tick_seconds = min(MAX_TICK_SECONDS, *(lease.report_seconds / 4 for lease in leases.values()))
        self._begin()
        ending.register(self, sigterm=all(lease.settle_on_sigterm for lease in leases.values()))

    def _begin(self) -> None:
        self.table = Table(self._leases, clock, self._wake)
        self.calling = threading.Lock()
        """Held while the thread makes a call, so that no fork happens during it."""
        self._queue: SimpleQueue[Account | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._is_answered = True
        self._lost = 0
        self._lost_lock = threading.Lock()

    def after_fork(self) -> None:
        """Start afresh in a forked process: the leases are those of its parent, which settles them."""
        was_open = self.table.is_open
        self._begin()
        self.table.is_open = was_open

    def _wake(self, account: Account) -> None:
        self._queue.put(account)
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="canuse-leases", daemon=True)
                    try:
                        thread.start()
                    except RuntimeError:  # There are too many, or the interpreter ends: the server goes on deciding.
                        account.queued = False
                        return
                    self._thread = thread

    def _run(self) -> None:
        """Make the calls that are due until told to end."""
        looked_at = clock()
        while True:
            try:
                account = self._queue.get(timeout=self._tick_seconds if self.table.accounts else None)
            except Empty:
                account = None
            else:
                if account is None:
                    return
                account.queued = False
                self._look_at(account)
            now = clock()
            if now - looked_at >= self._tick_seconds:
                looked_at = now
                # In turn with those that need units, and each once: else the queue grows while there are many.
                for each in list(self.table.accounts.values()):
                    if each.due_at <= now:
                        self.table.queue(each)

    def _look_at(self, account: Account) -> None:
        try:
            with self.calling:
                self.serve(account)
        except Exception:
            log.exception("the lease of user %r for %r failed", account.user_id, account.feature_id)
            account.due_at = clock() + PAUSE_SECONDS

    def serve(self, account: Account, timeout_seconds: float | None = None) -> bool:
        """Make the calls of an account that are due; return whether all were answered."""
        is_alone = account.calling.acquire(timeout=-1 if timeout_seconds is None else timeout_seconds)
        try:
            for _ in range(MAX_CALLS):
                if (call := account.next_call()) is None:
                    break
                try:
                    answer = self._made(call, timeout_seconds)
                except CanuseError as error:
                    lost, why = account.failed(call, error), str(error)
                    self._note_failure(error)
                else:
                    self._is_answered = True
                    lost, why = account.answered(call, answer), "the user has no entitlement to the feature"
                if lost is not None:
                    self.lose(lost, why)
                if account.open is call:
                    return False
        finally:
            if is_alone:
                account.calling.release()
        if account.ended:
            self.table.remove(account)
        return True

    def _made(self, call: Call, timeout_seconds: float | None) -> Answer:
        """Make a call once: an account makes it again."""
        stubs = self._transport._stubs.entitlements  # noqa: SLF001 - a part of the client
        method: Any
        match call:
            case Reserve():
                method = stubs.Reserve
            case Extend():
                method = stubs.ExtendLease
            case Settle():
                method = stubs.Settle
            case Record():
                method = stubs.CreateUsageEvent
        answer: Answer = self._transport._call(  # noqa: SLF001
            method, call.request(), timeout_seconds=timeout_seconds, retry_seconds=0.0
        )
        return answer

    def give_back(self, account: Account) -> bool:
        """Settle a lease now, in the thread of the caller; return whether its units are free."""
        account.stop()
        return self.serve(account)

    def give_all_back(self) -> None:
        """Take no more leases, and let the thread settle those that there are."""
        for account in self.table.stop():
            self.table.queue(account)

    def close(self, timeout_seconds: float) -> list[Record]:
        """Settle all leases within a time, and end; return what could not be reported."""
        self.settle(timeout_seconds)
        return self.end()

    def settle(self, timeout_seconds: float) -> None:
        """Settle all leases within a time, and end the thread. If it is interrupted, it may be called again."""
        deadline = clock() + timeout_seconds
        waiting = self.table.stop()
        if (thread := self._thread) is not None:
            self._queue.put(None)
            thread.join(timeout_seconds / 2)
        try:
            while waiting := [each for each in waiting if not self._settled(each, deadline)]:
                if clock() >= deadline or not any(each.unreported for each in waiting):
                    break
                time.sleep(RETRY_SECONDS)  # A server that is being restarted answers again soon.
        except RuntimeError:  # gRPC does not work in this process.
            pass

    def end(self) -> list[Record]:
        """Forget all leases; return what could not be reported. It makes no call."""
        accounts = self.table.stop()
        unreported = [use for account in accounts for use in account.leftover()]
        for account in accounts:
            self.table.remove(account)
        ending.forget(self)
        self._end()
        return unreported

    def _settled(self, account: Account, deadline: float) -> bool:
        """Give a lease back; return whether nothing is left of it. After the time is up nothing is tried."""
        return (left := deadline - clock()) > 0 and self.serve(account, left)

    def _note_failure(self, error: CanuseError) -> None:
        """Log the first failure of several in a row."""
        if self._is_answered and is_no_answer(error):
            self._is_answered = False
            log.warning("uses of leases wait to be recorded: %s: %s", type(error).__name__, error)

    def lose(self, record: Record, why: str) -> None:
        """Note what will never be recorded."""
        with self._lost_lock:
            self._lost += record.used
        log.error(
            "%d units of %r that user %r has used are not recorded: %s (event_id %s)",
            *(record.used, record.feature_id, record.user_id, why, record.event_id),
        )

    def view(self) -> HeldLeases:
        """Return what is held."""
        accounts = list(self.table.accounts.values())
        held = tuple(_held(each) for each in accounts if each.lease_id)
        return HeldLeases(held, sum(each.unreported for each in accounts), self._lost)


def _held(account: Account) -> HeldLease:
    with account.lock:
        usable_for = timedelta(seconds=max(0.0, min(account.usable_until - clock(), account.lease.ttl_seconds)))
        return HeldLease(
            account.user_id, account.feature_id, account.lease_id, account.left, account.unreported, usable_for
        )
