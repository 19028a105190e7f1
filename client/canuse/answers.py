"""The answers of the clients: the fields of the API's messages as Python values, and the message itself.

`bool` of an answer says whether it is a yes. Times are `datetime` in UTC, with microseconds; an absent field is None.
Amounts are in the feature's units.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import repeat
from operator import attrgetter
from typing import Any, ClassVar, Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status

from canuse import v1
from canuse._denial import Decision
from canuse._lazy import Lazy, assign, new
from canuse.enums import OnUnavailable, Reason, Source
from canuse.errors import CanuseError, from_status

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _moment(timestamp: Timestamp) -> datetime:
    # As `Timestamp.ToDatetime(UTC)`, in a fifth of the time: an answer has two of them.
    return _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)


def _moment_in(message: Message, name: str) -> datetime | None:
    return _moment(getattr(message, name)) if message.HasField(name) else None


def _length_in(message: Message, name: str) -> timedelta | None:
    return getattr(message, name).ToTimedelta() if message.HasField(name) else None


def _amount_in(message: Message, name: str) -> int | None:
    return getattr(message, name) if message.HasField(name) else None


@dataclass(frozen=True, slots=True)
class Consumption:
    """A user's use of a consumable feature in the current period."""

    used: int
    """Units used since `period_start`."""
    budget: int | None
    """Units that may be used in this period. None: unlimited."""
    remaining: int | None
    """Units left: budget - used - reserved, never negative. None: unlimited."""
    reserved: int
    """Units reserved by open leases."""
    overage_enabled: bool
    """Whether use above the budget is allowed."""
    period_start: datetime
    """Start of the period, inclusive."""
    resets_at: datetime | None
    """End of the period, exclusive: `used` resets to zero. None: never."""
    message: v1.Consumption = field(repr=False, compare=False)
    """The message of the API."""

    @classmethod
    def from_message(cls, message: v1.Consumption) -> "Consumption":
        """Convert a message."""
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
    | v1.ExtendLeaseResponse
    | v1.Entitlement
)


def _consumption_of(message: _HasConsumption) -> Consumption | None:
    return Consumption.from_message(message.consumption) if message.HasField("consumption") else None


def _reason_of(message: _HasConsumption) -> Reason:
    return Reason(message.reason)


@dataclass(frozen=True, slots=True)
class CanUseAnswer(Lazy, Decision):
    """Whether a user may use an amount now. True if and only if `access` is."""

    access: bool
    """Whether the user may use the amount now."""
    reason: Reason
    """The reason."""
    consumption: Consumption | None
    """The counts that the answer is based on. None for a binary feature and without an entitlement."""
    source: Source
    """What the answer is based on."""
    explanation: v1.Explanation | None = field(hash=False)
    """The steps that led to the answer, as a message. None unless `explain` was set."""
    retry_after: timedelta | None
    """After what time the same call will be a yes if nothing but time changes. None: a yes, or not known."""
    on_unavailable: OnUnavailable
    """What the feature is set to do while the store is unavailable: do the same while canuse is."""
    message: v1.CanUseResponse = field(repr=False, compare=False)
    """The message of the API."""
    feature_id: str = ""
    """The feature. Empty if the answer was made from a message alone."""
    failure: CanuseError | None = field(default=None, compare=False)
    """Why the service did not answer. Then the client did, as `Client(unavailable=…)` or the feature says: the `source`
    is FALLBACK or LAST_KNOWN, and the reason is STORE_UNAVAILABLE. None: the service answered."""
    local: bool = False
    """Whether the client answered without a call, by a lease or from its cache: `Client(leases=…)`. The counts are then
    those of the last answer of the service, with what this client has used since."""

    _CONVERTERS: ClassVar = {
        "reason": _reason_of,
        "consumption": _consumption_of,
        "source": lambda message: Source(message.source),
        "explanation": lambda message: message.explanation if message.HasField("explanation") else None,
        "retry_after": lambda message: _length_in(message, "retry_after"),
        "on_unavailable": lambda message: OnUnavailable(
            message.on_unavailable if message.HasField("on_unavailable") else v1.ON_UNAVAILABLE_DENY
        ),
        "local": lambda _: False,
    }

    def __bool__(self) -> bool:
        """Return `access`."""
        return self.access

    def _grounds(self) -> "tuple[str, Reason, Consumption | None]":
        return self.feature_id, self.reason, self.consumption

    @classmethod
    def from_message(
        cls, message: v1.CanUseResponse, feature_id: str = "", failure: CanuseError | None = None
    ) -> "CanUseAnswer":
        """Convert a message that answers about a feature."""
        answer = new(cls)
        assign(answer, "message", message)
        assign(answer, "access", message.access)
        assign(answer, "feature_id", feature_id)
        assign(answer, "failure", failure)
        return answer


@dataclass(frozen=True, slots=True)
class CreateUsageEventAnswer(Lazy):
    """The result of recording a use. True if and only if the use was counted."""

    recorded: bool
    """Whether the use was counted. False only if the user has no entitlement to count against."""
    reason: Reason
    """The user's state after the event, as the reason of a check."""
    consumption: Consumption | None
    """The counts after the event. None if nothing was recorded."""
    applied_delta: int
    """The change of the total, in the feature's units."""
    event_id: str
    """The idempotency key that was sent, otherwise the event's id in the ledger. Empty if there is neither."""
    replayed: bool
    """Whether this is the stored answer to an earlier call with the same `event_id`."""
    message: v1.CreateUsageEventResponse = field(repr=False, compare=False)
    """The message of the API."""
    failure: CanuseError | None = field(default=None, compare=False)
    """Why the service did not answer. Then the attached recorder has the use, and will record it. None: it answered."""

    _CONVERTERS: ClassVar = {
        "reason": _reason_of,
        "consumption": _consumption_of,
        "applied_delta": attrgetter("applied_delta"),
        "event_id": attrgetter("event_id"),
        "replayed": attrgetter("replayed"),
    }

    def __bool__(self) -> bool:
        """Return `recorded`."""
        return self.recorded

    @classmethod
    def from_message(
        cls, message: v1.CreateUsageEventResponse, failure: CanuseError | None = None
    ) -> "CreateUsageEventAnswer":
        """Convert a message."""
        answer = new(cls)
        assign(answer, "message", message)
        assign(answer, "recorded", message.recorded)
        assign(answer, "failure", failure)
        return answer


@dataclass(frozen=True, slots=True)
class UseFeatureAnswer(Lazy, Decision):
    """The result of a check with a use. True if and only if the use was recorded."""

    access: bool
    """Whether the user may use the amount: true if and only if the use was recorded."""
    reason: Reason
    """The reason."""
    consumption: Consumption | None
    """The counts after the call. None without an entitlement."""
    event_id: str
    """The idempotency key that was sent, otherwise the event's id in the ledger. Empty for a no without a key."""
    replayed: bool
    """Whether this is the stored answer to an earlier call with the same `event_id`."""
    retry_after: timedelta | None
    """After what time the same call, with another event id, will be a yes. None: a yes, or not known."""
    message: v1.UseFeatureResponse = field(repr=False, compare=False)
    """The message of the API."""
    feature_id: str = ""
    """The feature. Empty if the answer was made from a message alone."""
    local: bool = False
    """Whether the client decided it without a call, by a lease: `Client(leases=…)`. Then it has no `event_id`, and the
    counts are those of the last answer of the service, with what this client has used since."""

    _CONVERTERS: ClassVar = {
        "reason": _reason_of,
        "consumption": _consumption_of,
        "event_id": attrgetter("event_id"),
        "replayed": attrgetter("replayed"),
        "retry_after": lambda message: _length_in(message, "retry_after"),
        "local": lambda _: False,
    }

    def __bool__(self) -> bool:
        """Return `access`."""
        return self.access

    def _grounds(self) -> "tuple[str, Reason, Consumption | None]":
        return self.feature_id, self.reason, self.consumption

    @classmethod
    def from_message(cls, message: v1.UseFeatureResponse, feature_id: str = "") -> "UseFeatureAnswer":
        """Convert a message that answers about a feature."""
        answer = new(cls)
        assign(answer, "message", message)
        assign(answer, "access", message.access)
        assign(answer, "feature_id", feature_id)
        return answer


@dataclass(frozen=True, slots=True)
class UseFeaturesAnswer(Decision):
    """The result of a check with uses of several features. True if and only if all were recorded."""

    access: bool
    """Whether the user may use all amounts: true if and only if all charges were recorded."""
    reason: Reason
    """The reason of the first refused charge, or of the first charge if none was refused."""
    blocking_feature_id: str
    """The feature of the first refused charge. Empty: none was refused."""
    consumptions: tuple[Consumption | None, ...]
    """The counts after the call, in the order of the charges; None without an entitlement."""
    event_id: str
    """The idempotency key that was sent, otherwise the first event's id in the ledger. Empty for a no without a key."""
    replayed: bool
    """Whether this is the stored answer to an earlier call with the same `event_id`."""
    retry_after: timedelta | None
    """After what time the same call, with another event id, will be a yes. None: a yes, or not known."""
    message: v1.UseFeaturesResponse = field(repr=False, compare=False)
    """The message of the API."""

    def __bool__(self) -> bool:
        """Return `access`."""
        return self.access

    def _grounds(self) -> "tuple[str, Reason, Consumption | None]":
        # It is not known which of the counts are those of the refused charge.
        return self.blocking_feature_id, self.reason, None

    @classmethod
    def from_message(cls, message: v1.UseFeaturesResponse) -> "UseFeaturesAnswer":
        """Convert a message."""
        return cls(
            message.access,
            Reason(message.reason),
            message.blocking_feature_id,
            tuple(Consumption.from_message(each) if each.ListFields() else None for each in message.consumptions),
            message.event_id,
            message.replayed,
            _length_in(message, "retry_after"),
            message,
        )


@dataclass(frozen=True, slots=True)
class ReserveAnswer(Decision):
    """The result of a reservation. True if and only if something was granted."""

    granted: int
    """Units granted. 0: nothing was reserved."""
    lease_id: str
    """The id of the lease, for `settle`. Empty if nothing was granted."""
    expires_at: datetime | None
    """When the lease expires and releases its units. None if nothing was granted."""
    reason: Reason
    """The reason."""
    consumption: Consumption | None
    """The counts after the call. None without an entitlement."""
    event_id: str
    """The idempotency key that was sent. Empty: none was sent."""
    replayed: bool
    """Whether this is the stored answer to an earlier call with the same `event_id`."""
    retry_after: timedelta | None
    """After what time the same call, with another event id, will grant something. None: it did, or not known."""
    message: v1.ReserveResponse = field(repr=False, compare=False)
    """The message of the API."""
    feature_id: str = ""
    """The feature. Empty if the answer was made from a message alone."""

    def __bool__(self) -> bool:
        """Return whether anything was granted."""
        return self.granted > 0

    def _grounds(self) -> "tuple[str, Reason, Consumption | None]":
        return self.feature_id, self.reason, self.consumption

    @classmethod
    def from_message(cls, message: v1.ReserveResponse, feature_id: str = "") -> "ReserveAnswer":
        """Convert a message that answers about a feature."""
        return cls(
            message.granted,
            message.lease_id,
            _moment_in(message, "expires_at"),
            Reason(message.reason),
            _consumption_of(message),
            message.event_id,
            message.replayed,
            _length_in(message, "retry_after"),
            message,
            feature_id,
        )


@dataclass(frozen=True, slots=True)
class SettleAnswer:
    """The result of settling a lease. True if and only if a use was recorded."""

    recorded: bool
    """Whether a use was recorded. False only if `used` was 0."""
    reason: Reason
    """The user's state after the event, as the reason of a check."""
    consumption: Consumption | None
    """The counts of the current period after the event. None if the user no longer has the entitlement."""
    late: bool
    """Whether the lease had expired. The use is recorded nevertheless."""
    event_id: str
    """The idempotency key that was sent, otherwise the event's id in the ledger. Empty if there is neither."""
    replayed: bool
    """Whether this is the stored answer to an earlier call with the same `event_id`."""
    message: v1.SettleResponse = field(repr=False, compare=False)
    """The message of the API."""

    def __bool__(self) -> bool:
        """Return `recorded`."""
        return self.recorded

    @classmethod
    def from_message(cls, message: v1.SettleResponse) -> "SettleAnswer":
        """Convert a message."""
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
class ExtendLeaseAnswer:
    """The result of extending a lease. True if and only if it was extended."""

    extended: bool
    """Whether the lease was extended. False only if the amount is not available; then nothing was changed."""
    granted: int
    """Units that the lease reserves now: all that was granted and not settled yet."""
    expires_at: datetime
    """When the lease expires."""
    reason: Reason
    """The reason; without an amount the user's state after the call."""
    consumption: Consumption | None
    """The counts after the call. None without an entitlement."""
    event_id: str
    """The idempotency key that was sent. Empty: none was sent."""
    replayed: bool
    """Whether this is the stored answer to an earlier call with the same `event_id`."""
    message: v1.ExtendLeaseResponse = field(repr=False, compare=False)
    """The message of the API."""

    def __bool__(self) -> bool:
        """Return `extended`."""
        return self.extended

    @classmethod
    def from_message(cls, message: v1.ExtendLeaseResponse) -> "ExtendLeaseAnswer":
        """Convert a message."""
        return cls(
            message.extended,
            message.granted,
            _moment(message.expires_at),
            Reason(message.reason),
            _consumption_of(message),
            message.event_id,
            message.replayed,
            message,
        )


@dataclass(frozen=True, slots=True)
class Entitlement(Decision):
    """A user's entitlement to one feature. True if and only if the user may use one unit now."""

    feature_id: str
    """The feature."""
    access: bool
    """Whether the user may use one unit now."""
    reason: Reason
    """The reason."""
    consumption: Consumption | None
    """The counts of the current period. None for a binary feature."""
    subscription_ids: tuple[str, ...]
    """The subscriptions that give the feature, including those that do not count now."""
    grant_ids: tuple[str, ...]
    """The grants of the feature, in the order in which they are used, including those that do not count now."""
    retry_after: timedelta | None
    """After what time the user will be able to use one unit. None: now, or not known."""
    package_ids: tuple[str, ...]
    """Of a feature that the user does not have, or no longer: the packages that give it."""
    message: v1.Entitlement = field(repr=False, compare=False)
    """The message of the API."""

    def __bool__(self) -> bool:
        """Return `access`."""
        return self.access

    def _grounds(self) -> "tuple[str, Reason, Consumption | None]":
        return self.feature_id, self.reason, self.consumption

    @classmethod
    def from_message(cls, message: v1.Entitlement) -> "Entitlement":
        """Convert a message."""
        return cls(
            message.feature_id,
            message.access,
            Reason(message.reason),
            _consumption_of(message),
            tuple(message.subscription_ids),
            tuple(message.grant_ids),
            _length_in(message, "retry_after"),
            tuple(message.package_ids),
            message,
        )


@dataclass(frozen=True, slots=True)
class PastPeriod:
    """A period that has ended."""

    period_start: datetime
    """Its start, inclusive."""
    period_end: datetime
    """Its end, exclusive."""
    used: int
    """Units used in the period."""
    budget: int | None
    """The package's limit in the period; of a sum, the limits of its periods together. None: unlimited."""
    drawn_from_grants: int
    """Units of `used` that came from grants."""
    overage: int
    """Units used beyond the budget and the grants; of a sum, that of its periods together."""
    summed: bool
    """Whether it is the sum of the periods shorter than a day that started on one day (UTC), over a week ago."""
    message: v1.PastPeriod = field(repr=False, compare=False)
    """The message of the API."""

    @classmethod
    def from_message(cls, message: v1.PastPeriod) -> "PastPeriod":
        """Convert a message."""
        return cls(
            _moment(message.period_start),
            _moment(message.period_end),
            message.used,
            _amount_in(message, "budget"),
            message.drawn_from_grants,
            message.overage,
            message.summed,
            message,
        )


@dataclass(frozen=True, slots=True)
class SourceBalance:
    """A source of a budget and the units left of it."""

    subscription_id: str
    """The subscription, or empty for a grant."""
    grant_id: str
    """The grant, or empty for a subscription."""
    amount: int | None
    """Units in this period (subscription) or in total (grant). None: unlimited."""
    left: int | None
    """Units left now. None: unlimited."""
    message: v1.SourceBalance = field(repr=False, compare=False)
    """The message of the API."""

    @classmethod
    def from_message(cls, message: v1.SourceBalance) -> "SourceBalance":
        """Convert a message."""
        return cls(
            message.subscription_id,
            message.grant_id,
            _amount_in(message, "amount"),
            _amount_in(message, "left"),
            message,
        )


@dataclass(frozen=True, slots=True)
class ShowUsageAnswer:
    """A user's use of one feature. It is neither a yes nor a no: use `can_use` for that."""

    current: Consumption | None
    """The current period. None if the user has no entitlement to the feature."""
    past: tuple[PastPeriod, ...]
    """Past periods in which something was used, newest first."""
    sources: tuple[SourceBalance, ...]
    """The sources of the budget: the package that counts, then the grants in the order of use, including ended ones."""
    message: v1.ShowUsageResponse = field(repr=False, compare=False)
    """The message of the API."""

    @classmethod
    def from_message(cls, message: v1.ShowUsageResponse) -> "ShowUsageAnswer":
        """Convert a message."""
        return cls(
            Consumption.from_message(message.current) if message.HasField("current") else None,
            tuple(map(PastPeriod.from_message, message.past)),
            tuple(map(SourceBalance.from_message, message.sources)),
            message,
        )


def batch_can_use_answers(
    message: v1.BatchCanUseResponse, requests: Sequence[v1.CanUseRequest] = ()
) -> list[CanUseAnswer | CanuseError]:
    """Convert the results of many checks: for each an answer or an error."""
    return [
        _failure(each.status) if each.HasField("status") else CanUseAnswer.from_message(each.response, feature_id)
        for each, (feature_id, _) in zip(message.results, _ids(requests), strict=False)
    ]


def batch_create_usage_events_answers(
    message: v1.BatchCreateUsageEventsResponse, requests: Sequence[v1.CreateUsageEventRequest] = ()
) -> list[CreateUsageEventAnswer | CanuseError]:
    """Convert the results of many uses: for each an answer or an error."""
    return [
        _failure(each.status, event_id)
        if each.HasField("status")
        else CreateUsageEventAnswer.from_message(each.response)
        for each, (_, event_id) in zip(message.results, _ids(requests), strict=False)
    ]


def batch_use_feature_answers(
    message: v1.BatchUseFeatureResponse, requests: Sequence[v1.UseFeatureRequest] = ()
) -> list[UseFeatureAnswer | CanuseError]:
    """Convert the results of many checked uses: for each an answer or an error."""
    return [
        _failure(each.status, event_id)
        if each.HasField("status")
        else UseFeatureAnswer.from_message(each.response, feature_id)
        for each, (feature_id, event_id) in zip(message.results, _ids(requests), strict=False)
    ]


def _ids(requests: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Yield the feature and the event id of each request, and then empty ones for ever."""
    for request in requests:
        yield request.feature_id, getattr(request, "event_id", "")
    yield from repeat(("", ""))


def _failure(status: Status, event_id: str = "") -> CanuseError:
    error = from_status(status)
    error.event_id = event_id
    return error
