"""Converts messages of the API to observations, and values to messages."""

from collections import Counter
from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from canuse import v1
from model.observations import (
    Applied,
    Balance,
    Check,
    Counts,
    Entitled,
    Entry,
    Event,
    Extended,
    Granted,
    GrantView,
    PackageView,
    Past,
    Recorded,
    Refusal,
    Settled,
    Step,
    SubscriptionView,
    Total,
    Usage,
    Used,
)


def time_of(message: Timestamp) -> int:
    """Return a timestamp in milliseconds; none is finer than that."""
    assert message.nanos % 1_000_000 == 0
    return message.seconds * 1000 + message.nanos // 1_000_000


def moment(time: int) -> Timestamp:
    """Return milliseconds as a timestamp."""
    return Timestamp(seconds=time // 1000, nanos=time % 1000 * 1_000_000)


def duration(time: int) -> Duration:
    """Return milliseconds as a duration."""
    return Duration(seconds=time // 1000, nanos=time % 1000 * 1_000_000)


def optional_moment(time: int | None) -> Timestamp | None:
    """Return milliseconds as a timestamp, None for None."""
    return None if time is None else moment(time)


def some_time(message: Message, field: str) -> int | None:
    """Return a timestamp that may be absent, in milliseconds."""
    return time_of(getattr(message, field)) if message.HasField(field) else None


def retry(message: Message) -> int | None:
    """Return after what time a no will be a yes, in milliseconds, if that is said."""
    return length_of(message.retry_after) if message.HasField("retry_after") else None  # type: ignore[attr-defined]


def length_of(message: Duration) -> int:
    """Return a duration in milliseconds; none is finer than that."""
    assert message.nanos % 1_000_000 == 0
    return message.seconds * 1000 + message.nanos // 1_000_000


def some_amount(message: Message, field: str) -> int | None:
    """Return an amount that may be absent."""
    return int(getattr(message, field)) if message.HasField(field) else None


def counts(message: v1.Consumption) -> Counts | None:
    """Return the counts, or None for an empty message."""
    if not message.HasField("period_start"):
        assert message == v1.Consumption()
        return None
    return Counts(
        message.used,
        some_amount(message, "budget"),
        some_amount(message, "remaining"),
        message.reserved,
        message.overage_enabled,
        time_of(message.period_start),
        some_time(message, "resets_at"),
    )


def event_name(sent: str, given: str) -> str:
    """Return an event id: the one that was sent, or for one the server made, its time after an @."""
    return given if sent or not given else f"@{given.partition('-')[0]}"


def check(message: v1.CanUseResponse) -> Check:
    """Return a check."""
    assert message.source == v1.SOURCE_STORE
    return Check(message.access, message.reason, counts(message.consumption), retry(message))


def steps(message: v1.Explanation) -> tuple[Step, ...]:
    """Return the steps of an explanation."""
    return tuple(step(one) for one in message.steps)


def step(message: v1.ExplanationStep) -> Step:
    """Return one step; it has a sentence for people as well."""
    assert message.text
    kind = message.WhichOneof("step")
    assert kind is not None
    what = getattr(message, kind)
    names = [field.name for field in what.DESCRIPTOR.fields]
    return kind, *(value_of(what, name) for name in names)


def value_of(message: Message, name: str) -> object:
    """Return a field; None where an optional one is absent."""
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.has_presence and not message.HasField(name):
        return None
    value: object = getattr(message, name)
    if isinstance(value, Duration):
        return length_of(value)
    return time_of(value) if isinstance(value, Timestamp) else value


def recorded(sent: str, message: v1.CreateUsageEventResponse) -> Recorded:
    """Return a CreateUsageEventResponse; `sent` is the event id of the request."""
    return Recorded(
        message.recorded,
        message.reason,
        counts(message.consumption),
        message.applied_delta,
        event_name(sent, message.event_id),
        message.replayed,
    )


def used(sent: str, message: v1.UseFeatureResponse) -> Used:
    """Return a UseFeatureResponse; `sent` is the event id of the request."""
    name = event_name(sent, message.event_id)
    each = (counts(message.consumption),)
    return Used(message.access, message.reason, "", each, name, message.replayed, retry(message))


def all_used(sent: str, message: v1.UseFeaturesResponse) -> Used:
    """Return a UseFeaturesResponse; `sent` is the event id of the request."""
    each = tuple(counts(consumption) for consumption in message.consumptions)
    name = event_name(sent, message.event_id)
    blocking = message.blocking_feature_id
    return Used(message.access, message.reason, blocking, each, name, message.replayed, retry(message))


def granted(message: v1.ReserveResponse) -> Granted:
    """Return a ReserveResponse."""
    return Granted(
        message.granted,
        message.lease_id,
        some_time(message, "expires_at"),
        message.reason,
        counts(message.consumption),
        message.event_id,
        message.replayed,
        retry(message),
    )


def extended(message: v1.ExtendLeaseResponse) -> Extended:
    """Return an ExtendLeaseResponse."""
    return Extended(
        message.extended,
        message.granted,
        time_of(message.expires_at),
        message.reason,
        counts(message.consumption),
        message.event_id,
        message.replayed,
    )


def settled(sent: str, message: v1.SettleResponse) -> Settled:
    """Return a SettleResponse; `sent` is the event id of the request."""
    return Settled(
        message.recorded,
        message.reason,
        counts(message.consumption),
        message.late,
        event_name(sent, message.event_id),
        message.replayed,
    )


def refusal(message: Status) -> Refusal:
    """Return the reason for which an item of a batch was refused."""
    (detail,) = (detail for detail in message.details if detail.Is(ErrorInfo.DESCRIPTOR))
    info = ErrorInfo()
    detail.Unpack(info)
    return Refusal(info.reason)


def entitled(message: v1.Entitlement) -> Entitled:
    """Return an entitlement."""
    return Entitled(
        message.feature_id,
        message.access,
        message.reason,
        counts(message.consumption),
        tuple(message.subscription_ids),
        tuple(message.grant_ids),
        retry(message),
        tuple(message.package_ids),
    )


def usage(message: v1.ShowUsageResponse) -> Usage:
    """Return a ShowUsageResponse."""
    past = tuple(
        Past(
            time_of(period.period_start),
            time_of(period.period_end),
            period.used,
            some_amount(period, "budget"),
            period.drawn_from_grants,
            period.overage,
            period.summed,
        )
        for period in message.past
    )
    sources = tuple(
        Balance(
            source.subscription_id or source.grant_id,
            some_amount(source, "amount"),
            some_amount(source, "left"),
        )
        for source in message.sources
    )
    return Usage(counts(message.current), past, sources)


def total(message: v1.UsageTotal) -> Total:
    """Return a usage total."""
    return Total(
        message.user_id,
        message.feature_id,
        time_of(message.period_start),
        some_time(message, "period_end"),
        message.used,
        some_amount(message, "budget"),
        message.drawn_from_grants,
        message.overage,
        message.summed,
        message.complete,
    )


def event(message: v1.UsageEvent) -> Event:
    """Return a usage event."""
    budget, remaining = some_amount(message, "budget"), some_amount(message, "remaining")
    assert remaining == (None if budget is None else max(0, budget - message.used))
    assert message.id.partition("-")[0] == str(time_of(message.time))
    return Event(
        time_of(message.time),
        message.feature_id,
        message.delta,
        message.applied_delta,
        message.action,
        message.event_id,
        tuple(sorted(message.metadata.items())),
        message.reason,
        message.used,
        budget,
    )


def subscription(message: v1.Subscription) -> SubscriptionView:
    """Return a subscription."""
    return SubscriptionView(
        message.id,
        message.user_id,
        message.package_id,
        message.package_version,
        message.status,
        time_of(message.started_at),
        some_time(message, "trial_end"),
        some_time(message, "cancel_at"),
    )


def grant(message: v1.Grant) -> GrantView:
    """Return a grant."""
    return GrantView(
        message.id,
        message.user_id,
        message.feature_id,
        some_amount(message, "amount"),
        time_of(message.effective_at),
        some_time(message, "expires_at"),
        message.priority,
        message.note,
        some_time(message, "revoked_at"),
        time_of(message.created_at),
    )


def package(message: v1.Package) -> PackageView:
    """Return a package."""
    entries = tuple(
        Entry(entry.feature_id, some_amount(entry, "limit"), entry.reset_period, entry.overage_enabled)
        for entry in message.features
    )
    return PackageView(message.id, message.type, entries, message.status, message.version, message.published_version)


def applied(messages: Sequence[v1.ApplyCatalogResponse]) -> Applied:
    """Return the sum of the answers to the calls of one ApplyCatalog."""
    changes = {
        tuple((each.feature_id or each.package_id, int(each.action), each.version) for each in message.changes)
        for message in messages
    }
    assert len(changes) == 1
    losses: Counter[tuple[str, str]] = Counter()
    for message in messages:
        losses.update({(loss.package_id, loss.feature_id): loss.users for loss in message.access_losses})
    users = sum(message.users for message in messages)
    return Applied(changes.pop(), users, tuple(sorted((*key, count) for key, count in losses.items())))


def package_entry(entry: Entry) -> v1.PackageFeature:
    """Return an entry of a package as a message."""
    return v1.PackageFeature(
        feature_id=entry.feature,
        limit=entry.limit,
        reset_period=entry.reset,  # type: ignore[arg-type]
        overage_enabled=entry.overage,
    )
