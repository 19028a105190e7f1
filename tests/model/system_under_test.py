"""A real server behind the interface of the model: the same calls, the same observations."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from canuse import v1
from canuse.errors import from_rpc_error
from canuse.testing import v1 as testing
from model import conversion
from model.model import Batch, Charges, Metadata
from model.observations import (
    Applied,
    Check,
    Ensured,
    Entitled,
    Entry,
    Event,
    Extended,
    Granted,
    GrantRequest,
    GrantView,
    Migrated,
    PackageChanged,
    PackageView,
    Recorded,
    Refusal,
    Refused,
    Settled,
    Step,
    SubscriptionView,
    Total,
    Usage,
    Used,
)
from support.wire import TIMEOUT_SECONDS, Stubs

Request = TypeVar("Request")
Response = TypeVar("Response")
PAGE: Final = 1000


class SystemUnderTest:
    """The calls of the model, made to a server."""

    def __init__(self, address: str) -> None:
        self.stubs = Stubs(address)
        self._clock = testing.ClockServiceStub(self.stubs.channel)

    def close(self) -> None:
        """Close the connection."""
        self.stubs.channel.close()

    def _call(self, method: "grpc.UnaryUnaryMultiCallable[Request, Response]", request: Request) -> Response:
        with refusals():
            return method(request, timeout=TIMEOUT_SECONDS)

    # Clock

    def clock(self) -> int:
        """Return the time of the server's clock."""
        return conversion.time_of(self._call(self._clock.GetTime, testing.GetTimeRequest()).time)

    def set_clock(self, now: int) -> None:
        """Move the clock."""
        self._call(self._clock.SetTime, testing.SetTimeRequest(time=conversion.moment(now)))

    # Catalog

    def create_feature(self, feature_id: str, binary: bool) -> None:
        """CreateFeature."""
        kind = v1.FEATURE_TYPE_BINARY if binary else v1.FEATURE_TYPE_CONSUMABLE
        request = v1.CreateFeatureRequest(feature=v1.Feature(id=feature_id, type=kind))
        self._call(self.stubs.catalog.CreateFeature, request)

    def archive_feature(self, feature_id: str) -> None:
        """ArchiveFeature."""
        self._call(self.stubs.catalog.ArchiveFeature, v1.ArchiveFeatureRequest(feature_id=feature_id))

    def create_package(
        self, package_id: str, kind: v1.PackageType.ValueType, entries: tuple[Entry, ...]
    ) -> PackageView:
        """CreatePackage."""
        package = v1.Package(id=package_id, type=kind, features=map(conversion.package_entry, entries))
        answer = self._call(self.stubs.catalog.CreatePackage, v1.CreatePackageRequest(package=package))
        return conversion.package(answer.package)

    def update_package(self, package_id: str, entries: tuple[Entry, ...]) -> PackageView:
        """UpdatePackage of the features."""
        package = v1.Package(id=package_id, features=map(conversion.package_entry, entries))
        request = v1.UpdatePackageRequest(package=package, update_mask=FieldMask(paths=["features"]))
        return conversion.package(self._call(self.stubs.catalog.UpdatePackage, request).package)

    def publish_package(self, package_id: str) -> PackageView:
        """PublishPackage."""
        request = v1.PublishPackageRequest(package_id=package_id)
        return conversion.package(self._call(self.stubs.catalog.PublishPackage, request).package)

    def archive_package(self, package_id: str) -> PackageView:
        """ArchivePackage."""
        request = v1.ArchivePackageRequest(package_id=package_id)
        return conversion.package(self._call(self.stubs.catalog.ArchivePackage, request).package)

    def get_package(self, package_id: str, version: int) -> PackageView:
        """GetPackage."""
        request = v1.GetPackageRequest(package_id=package_id, version=version)
        return conversion.package(self._call(self.stubs.catalog.GetPackage, request).package)

    def migrate_subscriptions(self, package_id: str, from_version: int, to_version: int, dry_run: bool) -> Migrated:
        """MigrateSubscriptions, with all its messages."""
        request = v1.MigrateSubscriptionsRequest(
            package_id=package_id, from_version=from_version, to_version=to_version, dry_run=dry_run
        )
        with refusals():
            messages = list(self.stubs.catalog.MigrateSubscriptions(request, timeout=TIMEOUT_SECONDS))
        assert [message.done for message in messages] == [False] * (len(messages) - 1) + [True]
        last, shrinking = messages[-1], [user_id for message in messages for user_id in message.shrinking_user_ids]
        return Migrated(last.users, last.migrated, last.shrinking_users, tuple(sorted(shrinking)))

    def apply_catalog(
        self,
        archive: tuple[str, ...],
        said: tuple[tuple[str, tuple[Entry, ...] | None, tuple[Entry, ...] | None], ...],
        dry_run: bool,
    ) -> Applied:
        """ApplyCatalog, with all calls of a dry run."""
        features = [
            self._call(self.stubs.catalog.GetFeature, v1.GetFeatureRequest(feature_id=each)) for each in archive
        ]
        request = v1.ApplyCatalogRequest(dry_run=dry_run)
        for feature in features:
            request.features.add().CopyFrom(feature.feature)
            request.features[-1].archived = True
        for package_id, published, draft in said:
            known = self._call(self.stubs.catalog.GetPackage, v1.GetPackageRequest(package_id=package_id)).package
            versions = ((published, v1.PACKAGE_STATUS_PUBLISHED), (draft, v1.PACKAGE_STATUS_DRAFT))
            for entries, status in versions:
                if entries is not None:
                    listed = map(conversion.package_entry, entries)
                    request.packages.add(id=package_id, type=known.type, status=status, features=listed)
        answers = [self._call(self.stubs.catalog.ApplyCatalog, request)]
        while answers[-1].resume_token:
            request.resume_token = answers[-1].resume_token
            answers.append(self._call(self.stubs.catalog.ApplyCatalog, request))
        return conversion.applied(answers)

    # Users, subscriptions and grants

    def create_user(self, user_id: str) -> None:
        """CreateUser."""
        self._call(self.stubs.users.CreateUser, v1.CreateUserRequest(user=v1.User(id=user_id)))

    def disable_user(self, user_id: str, disabled: bool) -> None:
        """UpdateUser of the field `disabled`."""
        mask = FieldMask(paths=["disabled"])
        request = v1.UpdateUserRequest(user=v1.User(id=user_id, disabled=disabled), update_mask=mask)
        self._call(self.stubs.users.UpdateUser, request)

    def ensure_user(self, user_id: str, disabled: bool | None, package_id: str) -> Ensured:
        """EnsureUser with the field `disabled` unless it is None."""
        user = v1.User(id=user_id, disabled=bool(disabled))
        mask = FieldMask(paths=[] if disabled is None else ["disabled"])
        request = v1.EnsureUserRequest(user=user, update_mask=mask, package_id=package_id)
        answer = self._call(self.stubs.users.EnsureUser, request)
        view = conversion.subscription(answer.subscription) if answer.HasField("subscription") else None
        return Ensured(answer.created, answer.updated, answer.subscribed, answer.user.disabled, view)

    def delete_user(self, user_id: str) -> None:
        """DeleteUser."""
        self._call(self.stubs.users.DeleteUser, v1.DeleteUserRequest(user_id=user_id))

    def subscribe(
        self,
        user_id: str,
        packages: tuple[str, ...],
        started: int | None,
        trial_end: int | None,
        status: v1.SubscriptionStatus.ValueType | None,
    ) -> list[SubscriptionView]:
        """Subscribe."""
        request = v1.SubscribeRequest(
            user_id=user_id,
            package_ids=packages,
            started_at=conversion.optional_moment(started),
            trial_end=conversion.optional_moment(trial_end),
            status=status or v1.SUBSCRIPTION_STATUS_UNSPECIFIED,
        )
        answer = self._call(self.stubs.subscriptions.Subscribe, request)
        return [conversion.subscription(subscription) for subscription in answer.subscriptions]

    def update_subscription(self, subscription_id: str, changes: dict[str, int | None]) -> SubscriptionView:
        """UpdateSubscription of the given fields."""
        subscription = v1.Subscription(
            id=subscription_id,
            status=changes.get("status"),  # type: ignore[arg-type]
            trial_end=conversion.optional_moment(changes.get("trial_end")),
            cancel_at=conversion.optional_moment(changes.get("cancel_at")),
        )
        request = v1.UpdateSubscriptionRequest(subscription=subscription, update_mask=FieldMask(paths=list(changes)))
        return conversion.subscription(self._call(self.stubs.subscriptions.UpdateSubscription, request).subscription)

    def cancel_subscription(self, subscription_id: str, at_period_end: bool) -> SubscriptionView:
        """CancelSubscription."""
        request = v1.CancelSubscriptionRequest(subscription_id=subscription_id, at_period_end=at_period_end)
        return conversion.subscription(self._call(self.stubs.subscriptions.CancelSubscription, request).subscription)

    def change_package(self, user_id: str, package_id: str, at_period_end: bool, event_id: str) -> PackageChanged:
        """ChangePackage."""
        timing = v1.CHANGE_TIMING_PERIOD_END if at_period_end else v1.CHANGE_TIMING_NOW
        request = v1.ChangePackageRequest(user_id=user_id, package_id=package_id, timing=timing, event_id=event_id)
        answer = self._call(self.stubs.subscriptions.ChangePackage, request)
        replaced = tuple(map(conversion.subscription, answer.replaced))
        subscription = conversion.subscription(answer.subscription)
        return PackageChanged(subscription, replaced, answer.changed, answer.event_id, answer.replayed)

    def list_subscriptions(self, user_id: str) -> list[SubscriptionView]:
        """ListSubscriptions."""
        request = v1.ListSubscriptionsRequest(user_id=user_id, page_size=PAGE)
        answer = self._call(self.stubs.subscriptions.ListSubscriptions, request)
        return [conversion.subscription(subscription) for subscription in answer.subscriptions]

    def search_subscriptions(self, package: str, status: v1.SubscriptionStatus.ValueType) -> list[SubscriptionView]:
        """ListSubscriptions of all users, all pages, which are small."""
        request = v1.ListSubscriptionsRequest(package_id=package, status=status, page_size=2)
        found: list[v1.Subscription] = []
        while True:
            answer = self._call(self.stubs.subscriptions.ListSubscriptions, request)
            found += answer.subscriptions
            request.page_token = answer.next_page_token
            if not request.page_token:
                return [conversion.subscription(subscription) for subscription in found]

    def create_grant(self, user_id: str, requested: GrantRequest) -> GrantView:
        """CreateGrant."""
        grant = v1.Grant(
            id=requested.id,
            user_id=user_id,
            feature_id=requested.feature,
            amount=requested.amount,
            effective_at=conversion.optional_moment(requested.effective),
            expires_at=conversion.optional_moment(requested.expires),
            priority=requested.priority,
            note=requested.note,
        )
        return conversion.grant(
            self._call(self.stubs.subscriptions.CreateGrant, v1.CreateGrantRequest(grant=grant)).grant
        )

    def revoke_grant(self, user_id: str, grant_id: str) -> GrantView:
        """RevokeGrant."""
        request = v1.RevokeGrantRequest(user_id=user_id, grant_id=grant_id)
        return conversion.grant(self._call(self.stubs.subscriptions.RevokeGrant, request).grant)

    def list_grants(self, user_id: str) -> list[GrantView]:
        """ListGrants."""
        request = v1.ListGrantsRequest(user_id=user_id, page_size=PAGE)
        return [conversion.grant(grant) for grant in self._call(self.stubs.subscriptions.ListGrants, request).grants]

    # Checks and uses

    def can_use(self, *arguments: Any) -> Check:
        """CanUse."""
        return conversion.check(self._call(self.stubs.entitlements.CanUse, check_request(*arguments)))

    def explain(self, *arguments: Any) -> tuple[Check, tuple[Step, ...]]:
        """CanUse with `explain`."""
        request = check_request(*arguments)
        request.explain = True
        answer = self._call(self.stubs.entitlements.CanUse, request)
        return conversion.check(answer), conversion.steps(answer.explanation)

    def batch_can_use(self, arguments: Batch) -> list[Check | Refusal]:
        """BatchCanUse."""
        request = v1.BatchCanUseRequest(requests=[check_request(*one) for one in arguments])
        results = self._call(self.stubs.entitlements.BatchCanUse, request).results
        return [
            conversion.check(result.response) if result.HasField("response") else conversion.refusal(result.status)
            for result in results
        ]

    def create_usage_event(self, *sent: Any) -> Recorded:
        """CreateUsageEvent."""
        request = event_request(*sent)
        return conversion.recorded(request.event_id, self._call(self.stubs.entitlements.CreateUsageEvent, request))

    def batch_create_usage_events(self, sent: Batch) -> list[Recorded | Refusal]:
        """BatchCreateUsageEvents."""
        request = v1.BatchCreateUsageEventsRequest(requests=[event_request(*one) for one in sent])
        results = self._call(self.stubs.entitlements.BatchCreateUsageEvents, request).results
        return [
            conversion.recorded(one.event_id, result.response)
            if result.HasField("response")
            else conversion.refusal(result.status)
            for one, result in zip(request.requests, results, strict=True)
        ]

    def batch_use_feature(self, sent: Batch) -> list[Used | Refusal]:
        """BatchUseFeature."""
        request = v1.BatchUseFeatureRequest(requests=[use_request(*one) for one in sent])
        results = self._call(self.stubs.entitlements.BatchUseFeature, request).results
        return [
            conversion.used(one.event_id, result.response)
            if result.HasField("response")
            else conversion.refusal(result.status)
            for one, result in zip(request.requests, results, strict=True)
        ]

    def use_feature(self, user_id: str, feature: str, delta: int, event_id: str, metadata: Metadata) -> Used:
        """UseFeature."""
        request = use_request(user_id, feature, delta, event_id, metadata)
        return conversion.used(event_id, self._call(self.stubs.entitlements.UseFeature, request))

    def use_features(self, user_id: str, charges: Charges, event_id: str, metadata: Metadata) -> Used:
        """UseFeatures."""
        request = v1.UseFeaturesRequest(
            user_id=user_id,
            charges=[v1.Charge(feature_id=feature, delta=delta) for feature, delta in charges],
            event_id=event_id,
            metadata=dict(metadata),
        )
        return conversion.all_used(event_id, self._call(self.stubs.entitlements.UseFeatures, request))

    def reserve(self, user_id: str, feature: str, amount: int, min_amount: int, ttl: int, event_id: str) -> Granted:
        """Reserve."""
        request = v1.ReserveRequest(
            user_id=user_id,
            feature_id=feature,
            amount=amount,
            min_amount=min_amount,
            ttl=conversion.duration(ttl),
            event_id=event_id,
        )
        return conversion.granted(self._call(self.stubs.entitlements.Reserve, request))

    def extend_lease(self, lease_id: str, ttl: int | None, amount: int | None, event_id: str) -> Extended:
        """ExtendLease."""
        request = v1.ExtendLeaseRequest(
            lease_id=lease_id,
            ttl=None if ttl is None else conversion.duration(ttl),
            amount=amount,
            event_id=event_id,
        )
        return conversion.extended(self._call(self.stubs.entitlements.ExtendLease, request))

    def settle(self, lease_id: str, used: int, final: bool, event_id: str, metadata: Metadata) -> Settled:
        """Settle, with `final` left out where it says the same."""
        request = v1.SettleRequest(
            lease_id=lease_id,
            used=used,
            final=None if final else False,
            event_id=event_id,
            metadata=dict(metadata),
        )
        return conversion.settled(event_id, self._call(self.stubs.entitlements.Settle, request))

    # Reads

    def list_entitlements(self, user_id: str) -> list[Entitled]:
        """ListEntitlements."""
        request = v1.ListEntitlementsRequest(user_id=user_id, page_size=PAGE)
        answer = self._call(self.stubs.entitlements.ListEntitlements, request)
        return [conversion.entitled(entitlement) for entitlement in answer.entitlements]

    def show_usage(self, user_id: str, feature: str) -> Usage:
        """ShowUsage."""
        request = v1.ShowUsageRequest(user_id=user_id, feature_id=feature)
        return conversion.usage(self._call(self.stubs.usage.ShowUsage, request))

    def list_usage_events(self, user_id: str, feature: str, start: int | None, end: int | None) -> list[Event]:
        """ListUsageEvents, all pages."""
        request = v1.ListUsageEventsRequest(
            user_id=user_id,
            feature_id=feature,
            start_time=conversion.optional_moment(start),
            end_time=conversion.optional_moment(end),
            page_size=PAGE,
        )
        events: list[v1.UsageEvent] = []
        while True:
            answer = self._call(self.stubs.usage.ListUsageEvents, request)
            events += answer.events
            request.page_token = answer.next_page_token
            if not request.page_token:
                break
        assert len({event.id for event in events}) == len(events)
        return [conversion.event(event) for event in events]

    def list_usage_totals(self, feature: str, start: int | None, end: int | None) -> list[Total]:
        """ListUsageTotals, all pages, which are small."""
        request = v1.ListUsageTotalsRequest(
            feature_id=feature,
            start_time=conversion.optional_moment(start),
            end_time=conversion.optional_moment(end),
            page_size=3,
        )
        totals: list[v1.UsageTotal] = []
        while True:
            answer = self._call(self.stubs.usage.ListUsageTotals, request)
            totals += answer.totals
            request.page_token = answer.next_page_token
            if not request.page_token:
                return [conversion.total(total) for total in totals]


@contextmanager
def refusals() -> Iterator[None]:
    """Raise errors of the API as refusals."""
    try:
        yield
    except grpc.RpcError as error:
        raise Refused(from_rpc_error(error).reason or repr(error)) from error


def check_request(user_id: str, feature: str, delta: int) -> v1.CanUseRequest:
    """Return the request of a check."""
    return v1.CanUseRequest(user_id=user_id, feature_id=feature, delta=delta)


def use_request(user_id: str, feature: str, delta: int, event_id: str, metadata: Metadata) -> v1.UseFeatureRequest:
    """Return the request that checks and records a use."""
    return v1.UseFeatureRequest(
        user_id=user_id, feature_id=feature, delta=delta, event_id=event_id, metadata=dict(metadata)
    )


def event_request(
    user_id: str,
    feature: str,
    delta: int,
    action: v1.UsageAction.ValueType,
    event_id: str,
    metadata: Metadata,
) -> v1.CreateUsageEventRequest:
    """Return the request that records a use."""
    return v1.CreateUsageEventRequest(
        user_id=user_id, feature_id=feature, delta=delta, action=action, event_id=event_id, metadata=dict(metadata)
    )
