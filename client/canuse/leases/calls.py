"""The calls that an account makes. Each has an event id, with which it is made again until its outcome is known."""

from dataclasses import dataclass, field
from typing import Final, TypeAlias
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration

from canuse import v1
from canuse._requests import GENERATED_ID_SECONDS

SETTLEMENT_ID_SECONDS: Final = 3600
"""How long the event id of a settlement is kept: one that failed is repeated until the service is back."""


def _event_id() -> str:
    return uuid4().hex


@dataclass(frozen=True, slots=True)
class Reserve:
    """Takes a lease: all of the amount or nothing."""

    user_id: str
    feature_id: str
    amount: int
    ttl_ms: int
    made_at: float
    """Before the first attempt, by the clock of this process. Absolute times in the answer are at or after it."""
    event_id: str = field(default_factory=_event_id)

    def request(self) -> v1.ReserveRequest:
        """Return the message."""
        return v1.ReserveRequest(
            user_id=self.user_id,
            feature_id=self.feature_id,
            amount=self.amount,
            min_amount=self.amount,
            ttl=_length(self.ttl_ms),
            event_id=self.event_id,
            event_id_ttl=Duration(seconds=GENERATED_ID_SECONDS),
        )


@dataclass(frozen=True, slots=True)
class Extend:
    """Lets a lease expire later, and adds units to it if `amount` is not 0."""

    lease_id: str
    amount: int
    ttl_ms: int
    made_at: float
    event_id: str = field(default_factory=_event_id)

    def request(self) -> v1.ExtendLeaseRequest:
        """Return the message."""
        return v1.ExtendLeaseRequest(
            lease_id=self.lease_id,
            amount=self.amount or None,
            ttl=_length(self.ttl_ms),
            event_id=self.event_id,
            event_id_ttl=Duration(seconds=GENERATED_ID_SECONDS),
        )


@dataclass(frozen=True, slots=True)
class Settle:
    """Reports what was used, and with `final` gives the rest back."""

    lease_id: str
    used: int
    final: bool
    made_at: float
    event_id: str = field(default_factory=_event_id)

    def request(self) -> v1.SettleRequest:
        """Return the message."""
        return v1.SettleRequest(
            lease_id=self.lease_id,
            used=self.used,
            final=self.final,
            event_id=self.event_id,
            event_id_ttl=Duration(seconds=SETTLEMENT_ID_SECONDS),
        )


@dataclass(frozen=True, slots=True)
class Record:
    """Reports what was used of a lease that does not exist any more."""

    user_id: str
    feature_id: str
    used: int
    made_at: float
    event_id: str
    """That of the settlement that did not find the lease."""

    def request(self) -> v1.CreateUsageEventRequest:
        """Return the message."""
        return v1.CreateUsageEventRequest(
            user_id=self.user_id,
            feature_id=self.feature_id,
            delta=self.used,
            event_id=self.event_id,
            event_id_ttl=Duration(seconds=SETTLEMENT_ID_SECONDS),
        )


Call: TypeAlias = Reserve | Extend | Settle | Record
Answer: TypeAlias = v1.ReserveResponse | v1.ExtendLeaseResponse | v1.SettleResponse | v1.CreateUsageEventResponse


def _length(milliseconds: int) -> Duration:
    return Duration(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)
