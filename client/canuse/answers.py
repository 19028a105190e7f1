"""What the clients answer: the fields of the API's messages as Python values, with the message itself beside them.

Where an answer is a yes or a no, `bool` of it says which. Moments are `datetime` in UTC, to the microsecond; what is
absent is None. Amounts are in the feature's units.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import v1
from canuse.enums import Reason, Source
from canuse.errors import CanuseError, from_status


def _moment(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(UTC)


def _moment_in(message: Message, name: str) -> datetime | None:
    return _moment(getattr(message, name)) if message.HasField(name) else None


def _amount_in(message: Message, name: str) -> int | None:
    return getattr(message, name) if message.HasField(name) else None


@dataclass(frozen=True, slots=True)
class Consumption:
    """What a user has used of a consumable feature in the current period."""

    used: int
    """Units used since `period_start`."""
    budget: int | None
    """Units that may be used in this period. None: unlimited."""
    remaining: int | None
    """Units left: budget - used - reserved, never below zero. None: unlimited."""
    reserved: int
    """Units set aside ahead of use, by leases that are open."""
    overage_enabled: bool
    """Whether use beyond the budget is allowed."""
    period_start: datetime
    """The first moment of the period, inclusive."""
    resets_at: datetime | None
    """When the period ends and `used` starts again at zero, exclusive. None: never."""
    message: v1.Consumption = field(repr=False, compare=False)
    """The message that the server sent."""

    @classmethod
    def from_message(cls, message: v1.Consumption) -> "Consumption":
        """Read a message."""
        return cls(
            message.used,
            _amount_in(message, "budget"),
            _amount_in(message, "remaining"),
            message.reserved,
            message.overage_enabled,
            _moment(message.period_start),
            _moment_in(message, "resets_at"),
            message,
        )


_HasConsumption = (
    v1.CanUseResponse
    | v1.CreateUsageEventResponse
    | v1.UseFeatureResponse
    | v1.ReserveResponse
    | v1.SettleResponse
    | v1.Entitlement
)


def _consumption_of(message: _HasConsumption) -> Consumption | None:
    return Consumption.from_message(message.consumption) if message.HasField("consumption") else None


@dataclass(frozen=True, slots=True)
class CanUseAnswer:
    """Whether a user may use an amount now: true exactly when they may."""

    access: bool
    """Whether the user may use the amount now."""
    reason: Reason
    """Why."""
    consumption: Consumption | None
    """The counts the answer was based on. None for a binary feature, and where there is no entitlement."""
    source: Source
    """Where the answer came from."""
    explanation: v1.Explanation | None = field(hash=False)
    """How the answer came about, as a message. None unless it was asked for."""
    message: v1.CanUseResponse = field(repr=False, compare=False)
    """The message that the server sent."""

    def __bool__(self) -> bool:
        """Return `access`."""
        return self.access

    @classmethod
    def from_message(cls, message: v1.CanUseResponse) -> "CanUseAnswer":
        """Read a message."""
        return cls(
            message.access,
            Reason(message.reason),
            _consumption_of(message),
            Source(message.source),
            message.explanation if message.HasField("explanation") else None,
            message,
        )


@dataclass(frozen=True, slots=True)
class CreateUsageEventAnswer:
    """What was recorded: true exactly when the use was counted."""

    recorded: bool
    """Whether the use was counted: false only where there is nothing to count against."""
    reason: Reason
    """How the user stands after it."""
    consumption: Consumption | None
    """The counts after it. None where nothing was recorded."""
    applied_delta: int
    """By how much the total changed, in the feature's units."""
    event_id: str
    """The idempotency key that was sent, or else the ledger's id of the event. Empty where there is neither."""
    replayed: bool
    """Whether this is the stored answer to an earlier call with the same `event_id`."""
    message: v1.CreateUsageEventResponse = field(repr=False, compare=False)
    """The message that the server sent."""

    def __bool__(self) -> bool:
        """Return `recorded`."""
        return self.recorded

    @classmethod
    def from_message(cls, message: v1.CreateUsageEventResponse) -> "CreateUsageEventAnswer":
        """Read a message."""
        return cls(
            message.recorded,
            Reason(message.reason),
            _consumption_of(message),
            message.applied_delta,
            message.event_id,
            message.replayed,
            message,
        )


@dataclass(frozen=True, slots=True)
class UseFeatureAnswer:
    """Whether an amount was given: true exactly when the use was recorded."""

    access: bool
    """Whether the user may go ahead: true exactly when the use was recorded."""
    reason: Reason
    """Why."""
    consumption: Consumption | None
    """The counts after the call. None where there is no entitlement."""
    event_id: str
    """The idempotency key that was sent, or else the ledger's id of the event. Empty for a no without a key."""
    replayed: bool
    """Whether this is the stored answer to an earlier call with the same `event_id`."""
    message: v1.UseFeatureResponse = field(repr=False, compare=False)
    """The message that the server sent."""

    def __bool__(self) -> bool:
        """Return `access`."""
        return self.access

    @classmethod
    def from_message(cls, message: v1.UseFeatureResponse) -> "UseFeatureAnswer":
        """Read a message."""
        return cls(
            message.access,
            Reason(message.reason),
            _consumption_of(message),
            message.event_id,
            message.replayed,
            message,
        )


@dataclass(frozen=True, slots=True)
class UseFeaturesAnswer:
    """Whether all amounts were given: true exactly when all were recorded."""

    access: bool
    """Whether the user may go ahead: true exactly when all charges were recorded."""
    reason: Reason
    """Why: of the first charge that was refused, or else of the first charge."""
    blocking_feature_id: str
    """The feature of the first charge that was refused. Empty: none was."""
    consumptions: tuple[Consumption | None, ...]
    """The counts after the call, in the order of the charges; None where there is no entitlement."""
    event_id: str
    """The idempotency key that was sent, or else the ledger's id of the first event. Empty for a no without a key."""
    replayed: bool
    """Whether this is the stored answer to an earlier call with the same `event_id`."""
    message: v1.UseFeaturesResponse = field(repr=False, compare=False)
    """The message that the server sent."""

    def __bool__(self) -> bool:
        """Return `access`."""
        return self.access

    @classmethod
    def from_message(cls, message: v1.UseFeaturesResponse) -> "UseFeaturesAnswer":
        """Read a message."""
        return cls(
            message.access,
            Reason(message.reason),
            message.blocking_feature_id,
            tuple(Consumption.from_message(each) if each.ListFields() else None for each in message.consumptions),
            message.event_id,
            message.replayed,
            message,
        )


@dataclass(frozen=True, slots=True)
class ReserveAnswer:
    """What was set aside: true exactly when something was."""

    granted: int
    """Units granted; 0: nothing was set aside."""
    lease_id: str
    """The lease, for `settle`. Empty where nothing was granted."""
    expires_at: datetime | None
    """When what is not settled goes back by itself. None where nothing was granted."""
    reason: Reason
    """Why."""
    consumption: Consumption | None
    """The counts after the call. None where there is no entitlement."""
    event_id: str
    """The idempotency key that was sent. Empty: none was."""
    replayed: bool
    """Whether this is the stored answer to an earlier call with the same `event_id`."""
    message: v1.ReserveResponse = field(repr=False, compare=False)
    """The message that the server sent."""

    def __bool__(self) -> bool:
        """Return whether anything was granted."""
        return self.granted > 0

    @classmethod
    def from_message(cls, message: v1.ReserveResponse) -> "ReserveAnswer":
        """Read a message."""
        return cls(
            message.granted,
            message.lease_id,
            _moment_in(message, "expires_at"),
            Reason(message.reason),
            _consumption_of(message),
            message.event_id,
            message.replayed,
            message,
        )


@dataclass(frozen=True, slots=True)
class SettleAnswer:
    """What was recorded of a lease that has ended: true exactly when a use was recorded."""

    recorded: bool
    """Whether a use was recorded: false only where `used` was 0."""
    reason: Reason
    """How the user stands after it."""
    consumption: Consumption | None
    """The counts of the current period after it. None where there is no entitlement any more."""
    late: bool
    """Whether the lease had expired; the use is recorded all the same."""
    event_id: str
    """The idempotency key that was sent, or else the ledger's id of the event. Empty where there is neither."""
    replayed: bool
    """Whether this is the stored answer to an earlier call with the same `event_id`."""
    message: v1.SettleResponse = field(repr=False, compare=False)
    """The message that the server sent."""

    def __bool__(self) -> bool:
        """Return `recorded`."""
        return self.recorded

    @classmethod
    def from_message(cls, message: v1.SettleResponse) -> "SettleAnswer":
        """Read a message."""
        return cls(
            message.recorded,
            Reason(message.reason),
            _consumption_of(message),
            message.late,
            message.event_id,
            message.replayed,
            message,
        )


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What a user may use of one feature: true exactly when they may use one unit now."""

    feature_id: str
    """The feature."""
    access: bool
    """Whether the user may use one unit now."""
    reason: Reason
    """Why."""
    consumption: Consumption | None
    """The counts of the current period. None for a binary feature."""
    subscription_ids: tuple[str, ...]
    """The subscriptions that list the feature, whether or not they count now."""
    grant_ids: tuple[str, ...]
    """The grants of the feature, in the order in which they are drawn from, whether or not they count now."""
    message: v1.Entitlement = field(repr=False, compare=False)
    """The message that the server sent."""

    def __bool__(self) -> bool:
        """Return `access`."""
        return self.access

    @classmethod
    def from_message(cls, message: v1.Entitlement) -> "Entitlement":
        """Read a message."""
        return cls(
            message.feature_id,
            message.access,
            Reason(message.reason),
            _consumption_of(message),
            tuple(message.subscription_ids),
            tuple(message.grant_ids),
            message,
        )


@dataclass(frozen=True, slots=True)
class PastPeriod:
    """A period that has ended."""

    period_start: datetime
    """Its first moment, inclusive."""
    period_end: datetime
    """Its end, exclusive."""
    used: int
    """Units used in it."""
    budget: int | None
    """Units that the package gave in it. None: unlimited."""
    drawn_from_grants: int
    """Units of `used` that were drawn from grants."""
    message: v1.PastPeriod = field(repr=False, compare=False)
    """The message that the server sent."""

    @classmethod
    def from_message(cls, message: v1.PastPeriod) -> "PastPeriod":
        """Read a message."""
        return cls(
            _moment(message.period_start),
            _moment(message.period_end),
            message.used,
            _amount_in(message, "budget"),
            message.drawn_from_grants,
            message,
        )


@dataclass(frozen=True, slots=True)
class SourceBalance:
    """One source of a budget, and what is left of it."""

    subscription_id: str
    """The subscription, or empty for a grant."""
    grant_id: str
    """The grant, or empty for a subscription."""
    amount: int | None
    """Units it gave: in this period for a subscription, in all for a grant. None: unlimited."""
    left: int | None
    """Units it still gives now. None: unlimited."""
    message: v1.SourceBalance = field(repr=False, compare=False)
    """The message that the server sent."""

    @classmethod
    def from_message(cls, message: v1.SourceBalance) -> "SourceBalance":
        """Read a message."""
        return cls(
            message.subscription_id,
            message.grant_id,
            _amount_in(message, "amount"),
            _amount_in(message, "left"),
            message,
        )


@dataclass(frozen=True, slots=True)
class ShowUsageAnswer:
    """What a user has used of one feature. It is neither a yes nor a no: ask `can_use` for that."""

    current: Consumption | None
    """The current period. None where the user has no entitlement to the feature."""
    past: tuple[PastPeriod, ...]
    """Past periods in which something was used, newest first."""
    sources: tuple[SourceBalance, ...]
    """Where the budget comes from: the package that counts, then the grants as they are drawn from, ended ones too."""
    message: v1.ShowUsageResponse = field(repr=False, compare=False)
    """The message that the server sent."""

    @classmethod
    def from_message(cls, message: v1.ShowUsageResponse) -> "ShowUsageAnswer":
        """Read a message."""
        return cls(
            Consumption.from_message(message.current) if message.HasField("current") else None,
            tuple(map(PastPeriod.from_message, message.past)),
            tuple(map(SourceBalance.from_message, message.sources)),
            message,
        )


def batch_can_use_answers(message: v1.BatchCanUseResponse) -> list[CanUseAnswer | CanuseError]:
    """Read the results of many checks: for each its answer, or the error in its place."""
    return [
        from_status(each.status) if each.HasField("status") else CanUseAnswer.from_message(each.response)
        for each in message.results
    ]


def batch_create_usage_events_answers(
    message: v1.BatchCreateUsageEventsResponse,
) -> list[CreateUsageEventAnswer | CanuseError]:
    """Read the results of many uses: for each what was recorded, or the error in its place."""
    return [
        from_status(each.status) if each.HasField("status") else CreateUsageEventAnswer.from_message(each.response)
        for each in message.results
    ]
