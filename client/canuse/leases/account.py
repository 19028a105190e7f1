"""What a client has to do about one user and feature: reserve, extend, report, give back. No I/O.

The server's clock is another one. So what it says about time is counted from before the request was sent: the server
answered later, and what ends by its clock has then not ended yet.
"""

from collections.abc import Callable
from threading import Lock
from typing import Final
from uuid import uuid4

from google.protobuf.timestamp_pb2 import Timestamp

from canuse import v1
from canuse.enums import Reason
from canuse.errors import AlreadyExists, CanuseError, FailedPrecondition, InvalidArgument, NotFound
from canuse.leases.answers import Word
from canuse.leases.calls import SETTLEMENT_ID_SECONDS, Answer, Call, Extend, Record, Reserve, Settle
from canuse.leases.settings import Lease
from canuse.leases.sizing import MIN_ELAPSED_SECONDS, UNMETERED, WORTHWHILE_USES, Rate, available, size
from canuse.leases.units import NEVER, Units

_FIRST_DENIAL: Final = Reason.REASON_NOT_ENTITLED
_FOR_GOOD: Final = (AlreadyExists, FailedPrecondition, InvalidArgument, NotFound)
"""Errors that no retry mends."""


class Account(Units):
    """The lease of one user and feature, from the call that takes it to the one that gives it back.

    Whoever makes its calls holds `calling`.
    """

    def __init__(self, user_id: str, feature_id: str, lease: Lease, amount: int, now: Callable[[], float]) -> None:
        """Ask for an amount with the first call."""
        super().__init__(now)
        self.user_id, self.feature_id = user_id, feature_id
        self.lease = lease
        self.calling = Lock()
        self.queued = False
        """Whether it waits to be looked at."""
        self.ended = False
        """Whether nothing is left to do."""
        self.stopped = False
        """Whether it is to be given back."""
        self.lease_id = ""
        self.used_at = self.due_at = now()
        """When it was last seen in use, and when it is to be looked at."""
        self.open: Call | None = None
        """The call whose outcome is not known yet."""
        self._amount = amount
        self._least = WORTHWHILE_USES
        self._rate = Rate(self.used_at, amount / lease.ahead_seconds)
        self._given = 0
        """Units added since the last note of the rate: what is not left of them was used."""
        self._low = 0
        self._expires_at = self._period_ends_at = -NEVER
        self._stale_at = self._renew_at = NEVER
        self._heard_at = self._report_at = self._extend_at = -NEVER

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

    def stop(self) -> None:
        """Use nothing more; the next calls give the lease back."""
        with self.lock:
            self._stop()

    def _stop(self) -> None:
        self.stopped = True
        self._given -= self.left
        self.left = self.low = self._low = 0
        self.usable_until = -NEVER

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

    @property
    def _ttl_ms(self) -> int:
        return round(self.lease.ttl_seconds * 1000)

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

    def _reserved(self, call: Reserve, answer: v1.ReserveResponse) -> None:
        self.lease_id = answer.lease_id
        if not answer.granted:
            self._stop()
            return
        self._heard(call, answer.reason, answer.consumption, answer.granted)
        self._report_at = call.made_at + self.lease.report_seconds
        self._add(call, answer.granted, answer.expires_at)

    def _extended(self, call: Extend, answer: v1.ExtendLeaseResponse) -> None:
        if answer.extended:
            self._heard(call, answer.reason, answer.consumption, self.word.held + call.amount)
            self._add(call, call.amount, answer.expires_at)
            return
        is_for_good = answer.reason != Reason.REASON_BUDGET_EXCEEDED or self.word.reason in UNMETERED
        # What is left of the lease is still within the budget.
        self._heard(call, self.word.reason, answer.consumption, self.word.held)
        self._extend_at = self.now() + self.lease.report_seconds
        if is_for_good:
            self._stop()

    def _settled(self, call: Settle, answer: v1.SettleResponse) -> None:
        self.unreported -= call.used
        if call.final:
            self.lease_id = ""
            return
        self._report_at = self.now() + self.lease.report_seconds
        self._heard(call, answer.reason, answer.consumption, self.word.held - call.used)
        if answer.reason >= _FIRST_DENIAL:
            self._stop()

    def _heard(self, call: Call, reason: int, consumption: v1.Consumption, held: int) -> None:
        """Note the state in an answer. A lease of a period that has ended, or ends at another time, is given back."""
        before = self.word.consumption
        self.word = Word(self.feature_id, Reason(reason), consumption, held)
        self._heard_at = call.made_at
        self._stale_at = call.made_at + self.lease.max_stale_seconds if reason in UNMETERED else NEVER
        if before.HasField("period_start") and (
            before.period_start != consumption.period_start or before.resets_at != consumption.resets_at
        ):
            self._stop()
        self._set_usable_until()

    def _add(self, call: Reserve | Extend, amount: int, expires_at: Timestamp) -> None:
        """Add units, and note until when the lease lasts."""
        if self.stopped:
            return
        self.left += amount
        self._given += amount
        self.low = self._low = max(self.left // 2, 1)
        self._expires_at = call.made_at + self.lease.ttl_seconds - self.lease.margin_seconds
        self._renew_at = call.made_at + self.lease.ttl_seconds / 2
        self._period_ends_at = NEVER
        if self.word.consumption.HasField("resets_at"):
            # The server's time when it took the lease, or later: a lease is extended for at least its ttl from then on.
            answered_ms = _in_ms(expires_at) - call.ttl_ms
            self._period_ends_at = call.made_at + (_in_ms(self.word.consumption.resets_at) - answered_ms) / 1000
        self._set_usable_until()

    def _set_usable_until(self) -> None:
        if not self.stopped:
            self.usable_until = min(self._expires_at, self._period_ends_at, self._stale_at)

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


def _in_ms(timestamp: Timestamp) -> int:
    return timestamp.seconds * 1000 + timestamp.nanos // 1_000_000
