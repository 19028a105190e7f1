"""Builds the requests of both clients from the arguments of their methods. No I/O.

A request with ids only is built where it is sent. Those of the calls that are made most often are built without
`build` if all is well, in a third of its time.
"""

# ruff: noqa: A002 - `type` is what the field is called everywhere else too

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from os import urandom
from typing import Any, Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.field_mask_pb2 import FieldMask

from canuse import v1
from canuse._arguments import REFUSED, bad_argument, build, optional
from canuse._moments import Length, Moment
from canuse.errors import BadArgument


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        """Return the name that signatures show."""
        return "UNSET"


GENERATED_ID_SECONDS: Final = 600
"""How long a generated event id is kept. Only the retries of one call use it, and they end sooner."""

UNSET: Final = Unset.UNSET
"""Stands for an omitted argument where None and empty values have a meaning."""


def _changes(**fields: object) -> dict[str, Any]:
    """Return the fields that are set; BadArgument if none is: an update without a field is a mistake."""
    changes = {name: value for name, value in fields.items() if value is not UNSET}
    if not changes:
        raise BadArgument(f"nothing to update: give at least one of {', '.join(fields)}")
    return changes


def takes_event_ids(request: Descriptor) -> bool:
    """Whether a request, or each item of a batch, may have an event id."""
    items = request.fields_by_name.get("requests")
    item = request if items is None else items.message_type
    return item is not None and "event_id" in item.fields_by_name


def give_event_ids(request: Any) -> None:
    """Set a generated event id on a request that takes them, or on its items, so that it can be retried."""
    if "event_id" in request.DESCRIPTOR.fields_by_name:
        _give_event_id(request)
    else:
        for item in request.requests:
            _give_event_id(item)


def _give_event_id(request: Any) -> None:
    if not request.event_id:
        request.event_id = urandom(16).hex()
        request.event_id_ttl.seconds = GENERATED_ID_SECONDS


def can_use(user_id: str, feature_id: str, *, delta: int, explain: bool) -> v1.CanUseRequest:
    """Build the request that checks an amount."""
    if None not in (user_id, feature_id, delta, explain):
        try:
            return v1.CanUseRequest(user_id=user_id, feature_id=feature_id, delta=delta, explain=explain)
        except REFUSED:
            pass
    return build(v1.CanUseRequest, user_id=user_id, feature_id=feature_id, delta=delta, explain=explain)


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
    if None not in (user_id, feature_id, action):
        try:
            return v1.CreateUsageEventRequest(
                user_id=user_id,
                feature_id=feature_id,
                delta=delta,
                action=action,
                event_id="" if event_id is None else event_id,
                metadata=metadata,
            )
        except REFUSED:
            pass
    return build(
        v1.CreateUsageEventRequest,
        user_id=user_id,
        feature_id=feature_id,
        action=action,
        **optional(delta=delta, event_id=event_id, metadata=metadata),
    )


def use_feature(
    user_id: str, feature_id: str, *, delta: int, event_id: str | None, metadata: Mapping[str, str] | None
) -> v1.UseFeatureRequest:
    """Build the request that checks and records a use."""
    if None not in (user_id, feature_id, delta):
        try:
            return v1.UseFeatureRequest(
                user_id=user_id,
                feature_id=feature_id,
                delta=delta,
                event_id="" if event_id is None else event_id,
                metadata=metadata,
            )
        except REFUSED:
            pass
    return build(
        v1.UseFeatureRequest,
        user_id=user_id,
        feature_id=feature_id,
        delta=delta,
        **optional(event_id=event_id, metadata=metadata),
    )


def use_features(
    user_id: str, charges: Mapping[str, int], *, event_id: str | None, metadata: Mapping[str, str] | None
) -> v1.UseFeaturesRequest:
    """Build the request that checks and records uses of several features; `charges` are amounts by feature id."""
    if not isinstance(charges, Mapping):
        raise bad_argument("charges", charges, "a mapping of feature ids to amounts")
    built = [
        build(v1.Charge, f"charges[{feature_id!r}].", feature_id=feature_id, delta=delta)
        for feature_id, delta in charges.items()
    ]
    return build(
        v1.UseFeaturesRequest, user_id=user_id, charges=built, **optional(event_id=event_id, metadata=metadata)
    )


def list_usage_events(
    user_id: str,
    *,
    feature_id: str | None,
    start_time: Moment | None,
    end_time: Moment | None,
    page_size: int,
) -> v1.ListUsageEventsRequest:
    """Build the request for the first page of usage events."""
    return build(
        v1.ListUsageEventsRequest,
        user_id=user_id,
        page_size=page_size,
        **optional(feature_id=feature_id, start_time=start_time, end_time=end_time),
    )


def list_audit_entries(
    *,
    start_time: Moment | None,
    end_time: Moment | None,
    user_id: str | None,
    method: str | None,
    caller_key_id: str | None,
    page_size: int,
) -> v1.ListAuditEntriesRequest:
    """Build the request for the first page of the audit log."""
    return build(
        v1.ListAuditEntriesRequest,
        page_size=page_size,
        **optional(
            start_time=start_time, end_time=end_time, user_id=user_id, method=method, caller_key_id=caller_key_id
        ),
    )


def list_usage_totals(
    *, start_time: Moment | None, end_time: Moment | None, feature_id: str | None, page_size: int
) -> v1.ListUsageTotalsRequest:
    """Build the request for the first page of usage totals."""
    return build(
        v1.ListUsageTotalsRequest,
        page_size=page_size,
        **optional(start_time=start_time, end_time=end_time, feature_id=feature_id),
    )


def reserve(
    user_id: str, feature_id: str, amount: int, *, min_amount: int, ttl: Length | None, event_id: str | None
) -> v1.ReserveRequest:
    """Build the request that reserves an amount. With a ttl of None the server's default applies."""
    return build(
        v1.ReserveRequest,
        user_id=user_id,
        feature_id=feature_id,
        amount=amount,
        min_amount=min_amount,
        **optional(ttl=ttl, event_id=event_id),
    )


def settle(
    lease_id: str, used: int, *, final: bool, event_id: str | None, metadata: Mapping[str, str] | None
) -> v1.SettleRequest:
    """Build the request that settles a lease, or a part of it."""
    return build(
        v1.SettleRequest, lease_id=lease_id, used=used, final=final, **optional(event_id=event_id, metadata=metadata)
    )


def extend_lease(
    lease_id: str, *, ttl: Length | None, amount: int | None, event_id: str | None
) -> v1.ExtendLeaseRequest:
    """Build the request that extends a lease."""
    if ttl is None and amount is None:
        raise BadArgument("nothing to extend: give at least one of ttl, amount")
    return build(v1.ExtendLeaseRequest, lease_id=lease_id, **optional(ttl=ttl, amount=amount, event_id=event_id))


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
    changes = _changes(
        name=name,
        unit_label=unit_label,
        unit_label_plural=unit_label_plural,
        metadata=metadata,
        on_unavailable=on_unavailable,
    )
    return v1.UpdateFeatureRequest(
        feature=build(v1.Feature, id=feature_id, **changes), update_mask=FieldMask(paths=changes)
    )


def update_package(
    package_id: str,
    *,
    features: Iterable[v1.PackageFeature] | Unset,
    type: v1.PackageType.ValueType | Unset,
    name: str | Unset,
    metadata: Mapping[str, str] | Unset,
) -> v1.UpdatePackageRequest:
    """Build the request that changes the given fields of a draft."""
    changes = _changes(features=features, type=type, name=name, metadata=metadata)
    return v1.UpdatePackageRequest(
        package=build(v1.Package, id=package_id, **changes), update_mask=FieldMask(paths=changes)
    )


def migrate_subscriptions(
    package_id: str, *, from_version: int | None, to_version: int | None, dry_run: bool, resume_token: str | None
) -> v1.MigrateSubscriptionsRequest:
    """Build the request that moves subscriptions to another version of their package."""
    return build(
        v1.MigrateSubscriptionsRequest,
        package_id=package_id,
        dry_run=dry_run,
        **optional(from_version=from_version, to_version=to_version, resume_token=resume_token),
    )


def apply_catalog(
    features: Iterable[v1.Feature],
    packages: Iterable[v1.Package],
    *,
    archive_missing: bool,
    dry_run: bool,
    etag: str | None,
    max_user_losses: int,
) -> v1.ApplyCatalogRequest:
    """Build the request that applies a catalogue as one document."""
    return build(
        v1.ApplyCatalogRequest,
        features=features,
        packages=packages,
        archive_missing=archive_missing,
        dry_run=dry_run,
        max_user_losses=max_user_losses,
        **optional(etag=etag),
    )


def add_losses(total: v1.ApplyCatalogResponse, more: v1.ApplyCatalogResponse) -> None:
    """Add the users that a further call of a dry run counted."""
    counted = {(loss.package_id, loss.feature_id): loss for loss in total.access_losses}
    for loss in more.access_losses:
        if known := counted.get((loss.package_id, loss.feature_id)):
            known.users += loss.users
        else:
            total.access_losses.add().CopyFrom(loss)
    total.users += more.users
    total.user_losses.extend(more.user_losses)
    total.resume_token = more.resume_token


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
    changes = _changes(name=name, email=email, billing_id=billing_id, metadata=metadata, disabled=disabled)
    return v1.UpdateUserRequest(user=build(v1.User, id=user_id, **changes), update_mask=FieldMask(paths=changes))


def ensure_user(
    user_id: str,
    *,
    name: str | Unset,
    email: str | Unset,
    billing_id: str | Unset,
    metadata: Mapping[str, str] | Unset,
    disabled: bool | Unset,
    package_id: str | None,
) -> v1.EnsureUserRequest:
    """Build the request that creates a user or changes the given fields, and subscribes the user to a package."""
    fields = {"name": name, "email": email, "billing_id": billing_id, "metadata": metadata, "disabled": disabled}
    given: dict[str, Any] = {name: value for name, value in fields.items() if value is not UNSET}
    user = build(v1.User, id=user_id, **given)
    return build(v1.EnsureUserRequest, user=user, update_mask=FieldMask(paths=given), **optional(package_id=package_id))


def subscribe(
    user_id: str,
    package_ids: Sequence[str],
    *,
    started_at: Moment | None,
    trial_end: Moment | None,
    status: v1.SubscriptionStatus.ValueType | None,
    event_id: str | None = None,
) -> v1.SubscribeRequest:
    """Build the request that subscribes a user."""
    return build(
        v1.SubscribeRequest,
        user_id=user_id,
        package_ids=package_ids,
        **optional(started_at=started_at, trial_end=trial_end, status=status, event_id=event_id),
    )


def update_subscription(
    subscription_id: str,
    *,
    status: v1.SubscriptionStatus.ValueType | Unset,
    trial_end: Moment | Unset | None,
    cancel_at: Moment | Unset | None,
) -> v1.UpdateSubscriptionRequest:
    """Build the request that changes the given fields of a subscription. None removes a time."""
    changes = _changes(status=status, trial_end=trial_end, cancel_at=cancel_at)
    if status is None:
        raise bad_argument("status", status, "a value of canuse.v1.SubscriptionStatus")
    subscription = build(v1.Subscription, id=subscription_id, **optional(**changes))
    return v1.UpdateSubscriptionRequest(subscription=subscription, update_mask=FieldMask(paths=changes))


def create_grant(
    user_id: str,
    grant_id: str,
    feature_id: str,
    *,
    amount: int | None,
    effective_at: Moment | None,
    expires_at: Moment | None,
    priority: int,
    note: str,
) -> v1.CreateGrantRequest:
    """Build the request that gives a user an amount of a feature. An amount of None is unlimited."""
    grant = build(
        v1.Grant,
        id=grant_id,
        user_id=user_id,
        feature_id=feature_id,
        priority=priority,
        note=note,
        **optional(amount=amount, effective_at=effective_at, expires_at=expires_at),
    )
    return v1.CreateGrantRequest(grant=grant)


def create_api_key(
    name: str,
    scopes: Iterable[str],
    *,
    environment: v1.Environment.ValueType,
    expires_at: Moment | None,
    type: v1.ApiKeyType.ValueType = v1.API_KEY_TYPE_SECRET,
) -> v1.CreateApiKeyRequest:
    """Build the request that creates an API key."""
    key = build(
        v1.ApiKey, name=name, environment=environment, scopes=scopes, type=type, **optional(expires_at=expires_at)
    )
    return v1.CreateApiKeyRequest(api_key=key)
