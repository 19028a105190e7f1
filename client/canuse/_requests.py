"""The requests that both clients send, built from the arguments of their methods. No I/O.

A request that only carries ids is built where it is sent; here are those with something to decide.
"""

# ruff: noqa: A002 - `type` is what the field is called everywhere else too

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final, Literal
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import v1


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        """Return what a reader of a signature wants to see."""
        return "UNSET"


UNSET: Final = Unset.UNSET
"""Stands for an argument that was not given, where None and empty values mean something."""


def timestamp(name: str, moment: datetime | None) -> Timestamp | None:
    """Return a moment as a Timestamp; ValueError without a time zone, since guessing one shifts periods by hours."""
    if moment is None:
        return None
    if moment.utcoffset() is None:
        raise ValueError(f"{name}: {moment!r} has no time zone; use for example datetime.now(UTC)")
    result = Timestamp()
    result.FromDatetime(moment)
    return result


def _given(**fields: object) -> dict[str, Any]:
    """Return the fields that were given. ValueError if none was: an update without a field is a mistake."""
    given = {name: value for name, value in fields.items() if value is not UNSET}
    if not given:
        raise ValueError(f"nothing to update: give at least one of {', '.join(fields)}")
    return given


_COUNTING: Final = (
    v1.CreateUsageEventRequest,
    v1.UseFeatureRequest,
    v1.UseFeaturesRequest,
    v1.ReserveRequest,
    v1.SettleRequest,
    v1.SubscribeRequest,
)


def give_event_ids(request: object) -> None:
    """Give a request that counts or subscribes an event id of its own, unless it has one: so it may be sent again."""
    if isinstance(request, v1.BatchCreateUsageEventsRequest):
        for item in request.requests:
            give_event_ids(item)
    elif isinstance(request, _COUNTING) and not request.event_id:
        request.event_id = uuid4().hex


def create_usage_event(
    user_id: str,
    feature_id: str,
    *,
    delta: int | None,
    action: v1.UsageAction.ValueType,
    event_id: str | None,
    metadata: Mapping[str, str] | None,
) -> v1.CreateUsageEventRequest:
    """Build the request that records a use. A delta of None stays unset, so that the server can refuse it with SET."""
    return v1.CreateUsageEventRequest(
        user_id=user_id, feature_id=feature_id, delta=delta, action=action, event_id=event_id or "", metadata=metadata
    )


def use_feature(
    user_id: str, feature_id: str, *, delta: int, event_id: str | None, metadata: Mapping[str, str] | None
) -> v1.UseFeatureRequest:
    """Build the request that checks and records a use."""
    return v1.UseFeatureRequest(
        user_id=user_id, feature_id=feature_id, delta=delta, event_id=event_id or "", metadata=metadata
    )


def use_features(
    user_id: str, charges: Mapping[str, int], *, event_id: str | None, metadata: Mapping[str, str] | None
) -> v1.UseFeaturesRequest:
    """Build the request that checks and records uses of several features; `charges` are amounts by feature id."""
    return v1.UseFeaturesRequest(
        user_id=user_id,
        charges=[v1.Charge(feature_id=feature_id, delta=delta) for feature_id, delta in charges.items()],
        event_id=event_id or "",
        metadata=metadata,
    )


def list_usage_events(
    user_id: str,
    *,
    feature_id: str | None,
    start_time: datetime | None,
    end_time: datetime | None,
    page_size: int,
) -> v1.ListUsageEventsRequest:
    """Build the request for the first page of usage events."""
    return v1.ListUsageEventsRequest(
        user_id=user_id,
        feature_id=feature_id or "",
        start_time=timestamp("start_time", start_time),
        end_time=timestamp("end_time", end_time),
        page_size=page_size,
    )


def reserve(
    user_id: str, feature_id: str, amount: int, *, min_amount: int, ttl: timedelta | None, event_id: str | None
) -> v1.ReserveRequest:
    """Build the request that sets an amount aside. A ttl of None leaves it to the server."""
    return v1.ReserveRequest(
        user_id=user_id,
        feature_id=feature_id,
        amount=amount,
        min_amount=min_amount,
        ttl=_duration(ttl),
        event_id=event_id or "",
    )


def _duration(length: timedelta | None) -> Duration | None:
    if length is None:
        return None
    result = Duration()
    result.FromTimedelta(length)
    return result


def settle(lease_id: str, used: int, *, event_id: str | None, metadata: Mapping[str, str] | None) -> v1.SettleRequest:
    """Build the request that says what was used of a lease."""
    return v1.SettleRequest(lease_id=lease_id, used=used, event_id=event_id or "", metadata=metadata)


def update_feature(
    feature_id: str,
    *,
    name: str | Unset,
    unit_label: str | Unset,
    unit_label_plural: str | Unset,
    metadata: Mapping[str, str] | Unset,
    on_unavailable: v1.OnUnavailable.ValueType | Unset,
) -> v1.UpdateFeatureRequest:
    """Build the request that changes the given fields of a feature."""
    given = _given(
        name=name,
        unit_label=unit_label,
        unit_label_plural=unit_label_plural,
        metadata=metadata,
        on_unavailable=on_unavailable,
    )
    return v1.UpdateFeatureRequest(feature=v1.Feature(id=feature_id, **given), update_mask=FieldMask(paths=given))


def update_package(
    package_id: str,
    *,
    features: Iterable[v1.PackageFeature] | Unset,
    type: v1.PackageType.ValueType | Unset,
    name: str | Unset,
    metadata: Mapping[str, str] | Unset,
) -> v1.UpdatePackageRequest:
    """Build the request that changes the given fields of a draft."""
    given = _given(features=features, type=type, name=name, metadata=metadata)
    return v1.UpdatePackageRequest(package=v1.Package(id=package_id, **given), update_mask=FieldMask(paths=given))


def migrate_subscriptions(
    package_id: str, *, from_version: int | None, to_version: int | None, dry_run: bool, resume_token: str | None
) -> v1.MigrateSubscriptionsRequest:
    """Build the request that moves subscriptions to another version of their package."""
    return v1.MigrateSubscriptionsRequest(
        package_id=package_id,
        from_version=from_version or 0,
        to_version=to_version or 0,
        dry_run=dry_run,
        resume_token=resume_token or "",
    )


def update_user(
    user_id: str,
    *,
    name: str | Unset,
    email: str | Unset,
    billing_id: str | Unset,
    metadata: Mapping[str, str] | Unset,
    disabled: bool | Unset,
) -> v1.UpdateUserRequest:
    """Build the request that changes the given fields of a user."""
    given = _given(name=name, email=email, billing_id=billing_id, metadata=metadata, disabled=disabled)
    return v1.UpdateUserRequest(user=v1.User(id=user_id, **given), update_mask=FieldMask(paths=given))


def subscribe(
    user_id: str,
    package_ids: Sequence[str],
    *,
    started_at: datetime | None,
    trial_end: datetime | None,
    status: v1.SubscriptionStatus.ValueType | None,
    event_id: str | None = None,
) -> v1.SubscribeRequest:
    """Build the request that subscribes a user."""
    if isinstance(package_ids, str):
        raise TypeError(f"package_ids: a list of ids is wanted, such as [{package_ids!r}]")
    return v1.SubscribeRequest(
        user_id=user_id,
        package_ids=package_ids,
        started_at=timestamp("started_at", started_at),
        trial_end=timestamp("trial_end", trial_end),
        status=v1.SUBSCRIPTION_STATUS_UNSPECIFIED if status is None else status,
        event_id=event_id or "",
    )


def update_subscription(
    subscription_id: str,
    *,
    status: v1.SubscriptionStatus.ValueType | Unset,
    trial_end: datetime | Unset | None,
    cancel_at: datetime | Unset | None,
) -> v1.UpdateSubscriptionRequest:
    """Build the request that changes the given fields of a subscription. A time of None takes the time away."""
    trial: Timestamp | Literal[Unset.UNSET] | None = UNSET if trial_end is UNSET else timestamp("trial_end", trial_end)
    end: Timestamp | Literal[Unset.UNSET] | None = UNSET if cancel_at is UNSET else timestamp("cancel_at", cancel_at)
    given = _given(status=status, trial_end=trial, cancel_at=end)
    return v1.UpdateSubscriptionRequest(
        subscription=v1.Subscription(id=subscription_id, **given), update_mask=FieldMask(paths=given)
    )


def create_grant(
    user_id: str,
    grant_id: str,
    feature_id: str,
    *,
    amount: int | None,
    effective_at: datetime | None,
    expires_at: datetime | None,
    priority: int,
    note: str,
) -> v1.CreateGrantRequest:
    """Build the request that gives a user an amount of a feature. An amount of None is unlimited."""
    grant = v1.Grant(
        id=grant_id,
        user_id=user_id,
        feature_id=feature_id,
        amount=amount,
        effective_at=timestamp("effective_at", effective_at),
        expires_at=timestamp("expires_at", expires_at),
        priority=priority,
        note=note,
    )
    return v1.CreateGrantRequest(grant=grant)


def create_api_key(
    name: str, scopes: Iterable[str], *, environment: v1.Environment.ValueType, expires_at: datetime | None
) -> v1.CreateApiKeyRequest:
    """Build the request that makes an API key."""
    if isinstance(scopes, str):
        raise ValueError(f"scopes: {scopes!r} is one text; use a list of scopes")
    key = v1.ApiKey(name=name, environment=environment, scopes=scopes, expires_at=timestamp("expires_at", expires_at))
    return v1.CreateApiKeyRequest(api_key=key)
