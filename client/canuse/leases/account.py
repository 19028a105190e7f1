"""What a client has to do about one user and feature: reserve, extend, report, give back. No I/O."""

from collections.abc import Callable
from threading import Lock
from typing import Final
from uuid import uuid4

from canuse import v1
from canuse.errors import AlreadyExists, CanuseError, FailedPrecondition, InvalidArgument, NotFound
from canuse.leases.calls import SETTLEMENT_ID_SECONDS, Answer, Call, Extend, Record, Reserve, Settle
from canuse.leases.holding import Holding
from canuse.leases.settings import Lease
from canuse.leases.sizing import MIN_ELAPSED_SECONDS, WORTHWHILE_USES, Rate, available, size

_FOR_GOOD: Final = (AlreadyExists, FailedPrecondition, InvalidArgument, NotFound)
"""Errors that no retry mends."""


class Account(Holding):
    """The lease of one user and feature, from the call that takes it to the one that gives it back.

    Whoever makes its calls holds `calling`.
    """

    def __init__(self, user_id: str, feature_id: str, lease: Lease, amount: int, now: Callable[[], float]) -> None:
        """Ask for an amount with the first call."""
        super().__init__(feature_id, lease, now)
        self.user_id = user_id
        self.calling = Lock()
        self.queued = False
        """Whether it waits to be looked at."""
        self.ended = False
        """Whether nothing is left to do."""
        self.used_at = self.due_at = now()
        """When it was last seen in use, and when it is to be looked at."""
        self.open: Call | None = None
        """The call whose outcome is not known yet."""
        self._amount = amount
        self._least = WORTHWHILE_USES
        self._rate = Rate(self.used_at, amount / lease.ahead_seconds)
        self._ttl_ms = round(lease.ttl_seconds * 1000)

    def decided_elsewhere(self, delta: int) -> bool:
        """Note a use that the server had to decide; return whether to look for more units now."""
        with self.lock:
            now = self.now()
            self._given += delta
            self._least = WORTHWHILE_USES * delta
            self.used_at = now
            return now >= self.due_at or (self.open is None and now >= self._extend_at)

    def on_the_way(self) -> int:
        """Return how many units it has asked for, and may have been given without knowing it."""
        call = self.open
        return call.amount if isinstance(call, Reserve | Extend) else 0

    def next_call(self) -> Call | None:
        """Return the call to make now: the one whose outcome is not known, or else the next one that is due."""
        with self.lock:
            if self.open is None:
                self.open = self._due_call(self.now())
            return self.open

    def _due_call(self, now: float) -> Call | None:
        if not self.lease_id:
            if self.unreported:
                return self._record(self.unreported, uuid4().hex)
            if not self.stopped and self._amount >= self._least:
                return Reserve(self.user_id, self.feature_id, self._amount, self._ttl_ms, now)
            self.ended = True
            return None
        self._note_rate(now)
        in_all = self._available()
        wanted = size(self._rate.per_second, self.lease, in_all)
        more = wanted - self.left if self.left < self._low and now >= self._extend_at else 0
        more = more if more >= self._least else 0
        if not self.stopped and self._is_over(now, more, in_all):
            self._stop()
        if self.stopped or (self.unreported and now >= self._report_at):
            return Settle(self.lease_id, self.unreported, self.stopped, now)
        is_stale = now >= self._stale_at and self.used_at > self._heard_at
        if more or is_stale or now >= self._renew_at:
            return Extend(self.lease_id, more, self._ttl_ms, now)
        if self.left < self._low:
            self.low, self._extend_at = 0, max(self._extend_at, now + MIN_ELAPSED_SECONDS)
        self.due_at = min(now + self.lease.report_seconds, self._renew_at, self._expires_at, self._period_ends_at)
        return None

    def _note_rate(self, now: float) -> None:
        used = self._given - self.left
        self.used_at = now if used else self.used_at
        if self._rate.note(used, now):
            self._given = self.left

    def _available(self) -> int | None:
        """Return what is left of the budget for this lease and all others. None: there is no limit."""
        left = available(self.word.reason, self.word.consumption)
        return None if left is None else left + self.left

    def _is_over(self, now: float, more: int, in_all: int | None) -> bool:
        """Whether the lease has to be given back."""
        if now >= min(self._expires_at, self._period_ends_at) or now - self.used_at >= self.lease.idle_seconds:
            return True
        if self.left < min(self._low, self._least) and not more and now >= self._report_at:
            return True  # What is left is of no use, and there is no more.
        # There is less for others than in this lease, which has more than it needs.
        needed = size(self._rate.per_second, self.lease, None)
        return in_all is not None and in_all - self.left < self.left and self.left > 2 * needed

    def answered(self, call: Call, answer: Answer) -> Record | None:
        """Note the answer to a call; return what will never be recorded."""
        with self.lock:
            if call is not self.open:
                return None  # Two threads made it, with one event id.
            self.open = None
            if isinstance(call, Reserve) and isinstance(answer, v1.ReserveResponse):
                self._reserved(call, answer)
            elif isinstance(call, Extend) and isinstance(answer, v1.ExtendLeaseResponse):
                self._extended(call, answer)
            elif isinstance(call, Settle) and isinstance(answer, v1.SettleResponse):
                self._settled(call, answer)
            elif isinstance(call, Record) and isinstance(answer, v1.CreateUsageEventResponse):
                self.unreported -= call.used
                return None if answer.recorded else call
            return None

    def failed(self, call: Call, error: CanuseError) -> Record | None:
        """Note that a call failed; return what will never be recorded.

        The call stays `open`, unless it is certain that repeating it is of no use.
        """
        with self.lock:
            now = self.now()
            if call is not self.open:
                return None
            limit = SETTLEMENT_ID_SECONDS if isinstance(call, Settle | Record) else self.lease.ttl_seconds
            if not isinstance(error, _FOR_GOOD) and now - call.made_at < limit:
                self.due_at, self.low = now + self.lease.report_seconds, 0
                return None
            self.open = None
            self._stop()
            if not isinstance(call, Settle | Record):
                return None
            record = call if isinstance(call, Record) else self._record(call.used, call.event_id)
            if isinstance(call, Settle):
                self.lease_id = ""
                if isinstance(error, NotFound) and call.used:
                    self.open = record
                    return None
            self.unreported -= call.used
            return record if call.used else None

    def leftover(self) -> list[Record]:
        """Return what is not reported, to be reported by other means."""
        with self.lock:
            left, rest = [], self.unreported
            if isinstance(self.open, Settle | Record) and self.open.used:
                left.append(self._record(self.open.used, self.open.event_id))
                rest -= self.open.used
            return [*left, self._record(rest, uuid4().hex)] if rest else left

    def _record(self, used: int, event_id: str) -> Record:
        return Record(self.user_id, self.feature_id, used, self.now(), event_id)
