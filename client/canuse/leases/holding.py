"""What a client holds of one user and feature, by the answers of the server: how much, and until when. No I/O.

The server's clock is another one. So what it says about time is counted from before the request was sent: the server
answered later, and what ends by its clock has then not ended yet.
"""

from collections.abc import Callable
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from canuse import v1
from canuse.enums import Reason
from canuse.leases.answers import Word
from canuse.leases.calls import Call, Extend, Reserve, Settle
from canuse.leases.settings import Lease
from canuse.leases.sizing import UNMETERED
from canuse.leases.units import NEVER, Units

_FIRST_DENIAL: Final = Reason.REASON_NOT_ENTITLED


class Holding(Units):
    """Units of a lease, or of none yet."""

    def __init__(self, feature_id: str, lease: Lease, now: Callable[[], float]) -> None:
        """Start without a lease."""
        super().__init__(now)
        self.feature_id = feature_id
        self.lease = lease
        self.lease_id = ""
        self.stopped = False
        """Whether it is to be given back."""
        self._given = 0
        """Units added since the last note of the rate: what is not left of them was used."""
        self._low = 0
        self._expires_at = self._period_ends_at = -NEVER
        self._stale_at = self._renew_at = NEVER
        self._heard_at = self._report_at = self._extend_at = -NEVER

    def stop(self) -> None:
        """Use nothing more; the next calls give the lease back."""
        with self.lock:
            self._stop()

    def _stop(self) -> None:
        self.stopped = True
        self._given -= self.left
        self.left = self.low = self._low = 0
        self.usable_until = -NEVER

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


def _in_ms(timestamp: Timestamp) -> int:
    return timestamp.seconds * 1000 + timestamp.nanos // 1_000_000
