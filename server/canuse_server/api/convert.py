"""Conversion from the domain model to messages of the API."""

from typing import cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from canuse.v1 import catalog_service_pb2 as catalog
from canuse.v1 import subscription_service_pb2 as subscription
from canuse.v1 import user_service_pb2 as user
from canuse.v1.consumption_pb2 import Consumption
from canuse_server.api.enums import shown
from canuse_server.api.tokens import subscription as subscription_tokens
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import Feature, Grant, Package, Profile, Subscription
from canuse_server.domain.periods import Period
from canuse_server.domain.subscriptions import status_at
from canuse_server.store.codec.user_values import Meta


def timestamp(time_ms: int) -> Timestamp:
    """Return a time in milliseconds as a message."""
    seconds, milliseconds = divmod(time_ms, 1000)
    return Timestamp(seconds=seconds, nanos=milliseconds * 1_000_000)


def optional_timestamp(time_ms: int | None) -> Timestamp | None:
    """Return a time in milliseconds as a message; None stays None."""
    return None if time_ms is None else timestamp(time_ms)


def duration(length_ms: int) -> Duration:
    """Return a length in milliseconds as a message."""
    seconds, milliseconds = divmod(length_ms, 1000)
    return Duration(seconds=seconds, nanos=milliseconds * 1_000_000)


def consumption(entitlement: Entitlement, period: Period, used: int, budget: int | None, reserved: int) -> Consumption:
    """Return the counts of a period; `budget` None is unlimited."""
    message = Consumption()
    fill_consumption(message, entitlement, period, used, budget, reserved)
    return message


def fill_consumption(
    message: Consumption, entitlement: Entitlement, period: Period, used: int, budget: int | None, reserved: int
) -> None:
    """Fill a message with the counts of a period. Filling it in place takes half the time of a copy."""
    start_ms, end_ms = period
    message.used = used
    if budget is not None:
        message.budget = budget
        message.remaining = max(0, budget - used - reserved)
    if reserved:
        message.reserved = reserved
    if entitlement.overage_enabled:
        message.overage_enabled = True
    _fill_timestamp(message.period_start, start_ms)
    if end_ms is not None:
        _fill_timestamp(message.resets_at, end_ms)


def _fill_timestamp(message: Timestamp, time_ms: int) -> None:
    # Always assigned, even 0: an assignment makes an empty message present.
    message.nanos = time_ms % 1000 * 1_000_000
    message.seconds = time_ms // 1000


def feature_message(feature: Feature) -> catalog.Feature:
    """Return a feature as a message."""
    return catalog.Feature(
        id=feature.id,
        name=feature.name,
        type=cast("catalog.FeatureType.ValueType", shown(feature.type)),
        unit_label=feature.unit_label,
        unit_label_plural=feature.unit_label_plural,
        metadata=feature.metadata,
        archived=feature.archived,
        created_at=timestamp(feature.created_at_ms),
        on_unavailable=cast("catalog.OnUnavailable.ValueType", shown(feature.on_unavailable)),
    )


def package_message(package: Package) -> catalog.Package:
    """Return a package as a message."""
    return catalog.Package(
        id=package.id,
        name=package.name,
        type=cast("catalog.PackageType.ValueType", shown(package.type)),
        features=[
            catalog.PackageFeature(
                feature_id=entry.feature_id,
                limit=entry.limit,
                reset_period=cast("catalog.ResetPeriod.ValueType", shown(entry.reset_period)),
                overage_enabled=entry.overage_enabled,
            )
            for entry in package.features
        ],
        metadata=package.metadata,
        status=cast("catalog.PackageStatus.ValueType", shown(package.status)),
        version=package.version,
        created_at=timestamp(package.created_at_ms),
        published_version=package.published_version,
    )


def user_message(user_id: str, meta: Meta, profile: Profile) -> user.User:
    """Return a user as a message."""
    return user.User(
        id=user_id,
        name=profile.name,
        email=profile.email,
        billing_id=profile.billing_id,
        metadata=profile.metadata,
        disabled=meta.disabled,
        created_at=timestamp(meta.created_at_ms),
    )


def grant_message(user_id: str, grant: Grant) -> subscription.Grant:
    """Return a grant as a message."""
    return subscription.Grant(
        id=grant.id,
        user_id=user_id,
        feature_id=grant.feature_id,
        amount=grant.amount,
        effective_at=timestamp(grant.effective_at_ms),
        expires_at=optional_timestamp(grant.expires_at_ms),
        priority=grant.priority,
        note=grant.note,
        revoked_at=optional_timestamp(grant.revoked_at_ms),
        created_at=timestamp(grant.created_at_ms),
    )


def subscription_message(user_id: str, item: Subscription, now_ms: int) -> subscription.Subscription:
    """Return a subscription with its status at `now_ms` as a message."""
    return subscription.Subscription(
        id=subscription_tokens.encode(user_id, item.token),
        user_id=user_id,
        package_id=item.package_id,
        package_version=item.package_version,
        status=cast("subscription.SubscriptionStatus.ValueType", shown(status_at(item, now_ms))),
        started_at=timestamp(item.started_at_ms),
        trial_end=optional_timestamp(item.trial_end_ms),
        cancel_at=optional_timestamp(item.cancel_at_ms),
    )
