"""The client for code with threads. `canuse.AsyncClient` has the same methods for asyncio."""

# ruff: noqa: A002 - `type` is what the field is called everywhere else too

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Event, Timer
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from canuse import _requests, v1
from canuse._api_keys import NewApiKey
from canuse._arguments import build, optional
from canuse._channel import (
    DEFAULT_SILENCE_TIMEOUT_SECONDS,
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT_SECONDS,
    Durability,
    PagedRequest,
    PagedResponse,
    call_metadata,
    channel_credentials,
    channel_options,
    check_settings,
    check_target,
    positive,
)
from canuse._moments import Length, Moment
from canuse._requests import UNSET, Unset
from canuse._tls import Tls
from canuse.answers import (
    CanUseAnswer,
    CreateUsageEventAnswer,
    Entitlement,
    ReserveAnswer,
    SettleAnswer,
    ShowUsageAnswer,
    UseFeatureAnswer,
    UseFeaturesAnswer,
    batch_can_use_answers,
    batch_create_usage_events_answers,
)
from canuse.errors import CanuseError, closed_before, from_rpc_error, silent

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_PagedRequest = TypeVar("_PagedRequest", bound=PagedRequest)
_PagedResponse = TypeVar("_PagedResponse", bound=PagedResponse)
_Item = TypeVar("_Item")


class Client:
    """Asks canuse what users may use, records what they used, and administers the catalogue.

        with canuse.Client("localhost:50051") as client:
            if client.can_use("user-124", "api-calls"):
                ...
                client.create_usage_event("user-124", "api-calls")

    A client holds one connection, which threads may share. Make one and keep it: connecting costs more than a call.

    Every method raises a `CanuseError` where the call fails: `NotFound` for an unknown id, `InvalidArgument` for input
    that the server does not accept, `BadArgument` for input that can't even be sent, `Unavailable` or
    `DeadlineExceeded` where no answer came, `ClientClosed` where the client was closed. A no is an answer, not an
    error: answers are true where they are a yes, or where something was recorded.

    What only reads is repeated where the service did not answer, up to three times in its time; a write only with
    `retry_uses`. Repeat one yourself only with an `event_id`.

    The `list_*` methods return iterators that fetch page after page as they are consumed, `page_size` items (1 to 1000)
    at a time, so that errors arise while iterating.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        silence_timeout_seconds: float = DEFAULT_SILENCE_TIMEOUT_SECONDS,
        api_key: str | None = None,
        durability: Durability | None = None,
        tls: Tls | bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        channel: grpc.Channel | None = None,
        options: Sequence[tuple[str, Any]] = (),
        retry_uses: bool = False,
    ) -> None:
        """Prepare a client; the first call connects.

        Args:
            target: The server as gRPC names it: `host:port`, `dns:///host:port`, `unix:/path`.
            timeout_seconds: How long one call (of a list: one page) may take.
            silence_timeout_seconds: How long a stream, which `migrate_subscriptions` is, may be without a message.
            api_key: Sent with each call as `authorization: Bearer …`. Over a network use it with `tls` only.
            durability: What a write has to reach before it is acknowledged, where the server promises less: `fsync` is
                the store's append-only file, `replica` its replicas. One that does not get there is OutcomeUnknown.
            tls: Turns TLS on: True for a server that a public CA vouches for, else a `Tls` with the files.
            credentials: gRPC's own credentials instead, such as `grpc.ssl_channel_credentials()`.
            channel: A channel of your own in place of `target`, `tls`, `credentials` and `options`. `close` leaves it
                open.
            options: gRPC channel options, over those of `canuse.channel_options`.
            retry_uses: Repeat what counts, too, where the service did not answer. Each such call gets an `event_id`
                unless it has one, so that it counts once. With a channel of your own, give that the retries.

        Raises:
            BadArgument: A setting that can't hold, or does not go with another, by its name.
            OSError: A file of `tls` can't be read.
        """
        check_settings(grpc.Channel, channel, credentials, tls, options, retry_uses)
        self._retry_uses = retry_uses
        self._metadata = call_metadata(api_key, durability)
        self._timeout_seconds = positive("timeout_seconds", timeout_seconds)
        self._silence_timeout_seconds = positive("silence_timeout_seconds", silence_timeout_seconds)
        self._owned = None
        if channel is None:
            channel = self._owned = _open(
                check_target(target),
                channel_credentials(credentials, tls),
                channel_options(options, retry_uses=retry_uses),
            )
        self._entitlements = v1.EntitlementServiceStub(channel)
        self._usage = v1.UsageServiceStub(channel)
        self._catalog = v1.CatalogServiceStub(channel)
        self._users = v1.UserServiceStub(channel)
        self._subscriptions = v1.SubscriptionServiceStub(channel)
        self._api_keys = v1.ApiKeyServiceStub(channel)

    def close(self) -> None:
        """Close the connection; calls under way raise ClientClosed. A channel that was passed in stays open."""
        if self._owned is not None:
            self._owned.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    # Entitlements and usage

    def can_use(self, user_id: str, feature_id: str, delta: int = 1, *, explain: bool = False) -> CanUseAnswer:
        """Ask whether a user may use an amount of a feature now, without recording anything.

        Args:
            user_id: The user.
            feature_id: The feature.
            delta: The amount about to be used, in the feature's units, 1 to 2^53 - 1. A binary feature ignores it.
            explain: Whether to say how the answer came about. It takes longer: for people and tests.

        Returns:
            `access`, the `reason`, the `consumption` it was based on, and with `explain` the `explanation`.

        Raises:
            NotFound: There is no such user or feature.
        """
        request = build(v1.CanUseRequest, user_id=user_id, feature_id=feature_id, delta=delta, explain=explain)
        return CanUseAnswer.from_message(self._call(self._entitlements.CanUse, request))

    def create_usage_event(
        self,
        user_id: str,
        feature_id: str,
        delta: int | None = None,
        *,
        action: v1.UsageAction.ValueType = v1.USAGE_ACTION_ADD,
        event_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> CreateUsageEventAnswer:
        """Record that a use happened, past the budget too.

        Args:
            user_id: The user.
            feature_id: The feature, a consumable one.
            delta: With ADD the amount, in the feature's units: 1 by default, a negative one takes back, down to zero.
                With SET the new total of the period, which must be given.
            action: `v1.USAGE_ACTION_ADD` or `v1.USAGE_ACTION_SET`.
            event_id: Idempotency key, at most 128 bytes. A repeat gets the first answer again and is not counted; after
                `recorded` false the key is still free.
            metadata: Kept with the event: at most 16 pairs, 2 KiB in all.

        Returns:
            `recorded`, false only where there is nothing to count against, and the `consumption` after it.

        Raises:
            NotFound: There is no such user or feature.
            FailedPrecondition: The feature is binary.
            AlreadyExists: The `event_id` was sent before with other content.
        """
        request = _requests.create_usage_event(
            user_id, feature_id, delta=delta, action=action, event_id=event_id, metadata=metadata
        )
        return CreateUsageEventAnswer.from_message(self._call(self._entitlements.CreateUsageEvent, request))

    def use_feature(
        self,
        user_id: str,
        feature_id: str,
        delta: int = 1,
        *,
        event_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> UseFeatureAnswer:
        """Check and record a use in one atomic step.

        Args:
            user_id: The user.
            feature_id: The feature, a consumable one.
            delta: The amount, in the feature's units, 1 to 2^53 - 1.
            event_id: Idempotency key, at most 128 bytes. A no is kept too: to try again after one, send a new key.
            metadata: Kept with the event: at most 16 pairs, 2 KiB in all.

        Returns:
            `access`, true exactly when the use was recorded, the `reason`, and the `consumption` after it.

        Raises:
            NotFound: There is no such user or feature.
            FailedPrecondition: The feature is binary.
            AlreadyExists: The `event_id` was sent before with other content.
        """
        request = _requests.use_feature(user_id, feature_id, delta=delta, event_id=event_id, metadata=metadata)
        return UseFeatureAnswer.from_message(self._call(self._entitlements.UseFeature, request))

    def use_features(
        self,
        user_id: str,
        charges: Mapping[str, int],
        *,
        event_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> UseFeaturesAnswer:
        """Check and record uses of several features in one atomic step: all of them or none.

        Args:
            user_id: The user.
            charges: Amounts by feature id, in each feature's units: 1 to 32 features, consumable ones.
            event_id: Idempotency key, at most 128 bytes. A no is kept too: to try again after one, send a new key.
            metadata: Kept with each event: at most 16 pairs, 2 KiB in all.

        Returns:
            `access`, true exactly when all were recorded, the `reason`, the `blocking_feature_id` that all were refused
            for, and the `consumptions` after it, in the order of `charges`.

        Raises:
            NotFound: There is no such user or feature.
            FailedPrecondition: A feature is binary.
            AlreadyExists: The `event_id` was sent before with other content.
        """
        request = _requests.use_features(user_id, charges, event_id=event_id, metadata=metadata)
        return UseFeaturesAnswer.from_message(self._call(self._entitlements.UseFeatures, request))

    def batch_can_use(self, requests: Iterable[v1.CanUseRequest]) -> list[CanUseAnswer | CanuseError]:
        """Ask many checks at once.

        Args:
            requests: 1 to 1000 checks: `v1.CanUseRequest(user_id="user-124", feature_id="api-calls")`.

        Returns:
            One item for each request, in their order: the answer, or the error that `can_use` alone would have raised.
            An item is true where its answer is yes; an error in the place of one is false.
        """
        answer = self._call(self._entitlements.BatchCanUse, build(v1.BatchCanUseRequest, requests=requests))
        return batch_can_use_answers(answer)

    def batch_create_usage_events(
        self, requests: Iterable[v1.CreateUsageEventRequest]
    ) -> list[CreateUsageEventAnswer | CanuseError]:
        """Record many uses at once, those of one user in their order.

        Args:
            requests: 1 to 1000 uses: `v1.CreateUsageEventRequest(user_id="user-124", feature_id="api-calls", delta=3)`.

        Returns:
            One item for each request, in their order: what was recorded, or the error that `create_usage_event` alone
            would have raised. An item is true where its use was recorded; an error in the place of one is false.
        """
        request = build(v1.BatchCreateUsageEventsRequest, requests=requests)
        answer = self._call(self._entitlements.BatchCreateUsageEvents, request)
        return batch_create_usage_events_answers(answer)

    def list_entitlements(self, user_id: str, *, page_size: int = 50) -> Iterator[Entitlement]:
        """Iterate over what a user may use, one entry per feature, ordered by feature id."""
        request = build(v1.ListEntitlementsRequest, user_id=user_id, page_size=page_size)
        return self._pages(self._entitlements.ListEntitlements, request, _entitlements_of)

    def show_usage(self, user_id: str, feature_id: str) -> ShowUsageAnswer:
        """Show what a user has used of a consumable feature: the `current` period, and `past` ones, newest first.

        Raises:
            NotFound: There is no such user or feature.
            FailedPrecondition: The feature is binary.
        """
        return ShowUsageAnswer.from_message(
            self._call(self._usage.ShowUsage, build(v1.ShowUsageRequest, user_id=user_id, feature_id=feature_id))
        )

    def list_usage_events(
        self,
        user_id: str,
        *,
        feature_id: str | None = None,
        start_time: Moment | None = None,
        end_time: Moment | None = None,
        page_size: int = 50,
    ) -> Iterator[v1.UsageEvent]:
        """Iterate over what was recorded for a user, newest first, as far back as the ledger is kept.

        Args:
            user_id: The user.
            feature_id: Only events of this feature. Default: of all.
            start_time: Only events from this moment on, with a time zone.
            end_time: Only events before this moment, with a time zone.
            page_size: How many are fetched at a time, at most.

        Raises:
            NotFound: There is no such user or feature.
            BadArgument: A time without a time zone.
        """
        request = _requests.list_usage_events(
            user_id, feature_id=feature_id, start_time=start_time, end_time=end_time, page_size=page_size
        )
        return self._pages(self._usage.ListUsageEvents, request, lambda page: page.events)

    # Leases

    def reserve(
        self,
        user_id: str,
        feature_id: str,
        amount: int,
        *,
        min_amount: int = 1,
        ttl: Length | None = None,
        event_id: str | None = None,
    ) -> ReserveAnswer:
        """Set an amount aside ahead of use, or what there is of it: a lease, to be settled.

        Args:
            user_id: The user.
            feature_id: The feature, a consumable one.
            amount: The amount wanted, in the feature's units, 1 to 2^53 - 1.
            min_amount: The least that is of use: with less than that nothing is granted.
            ttl: How long it is set aside, 1 second to 7 days. None: 1 minute. What is not settled by then goes back.
            event_id: Idempotency key, at most 128 bytes. A repeat gets the same lease; a no is kept, too.

        Returns:
            `granted`, 0 where the answer is no, the `lease_id` and when it `expires_at`, the `reason`, and the
            `consumption` after it.

        Raises:
            NotFound: There is no such user or feature.
            FailedPrecondition: The feature is binary.
            AlreadyExists: The `event_id` was sent before with other content.
        """
        request = _requests.reserve(user_id, feature_id, amount, min_amount=min_amount, ttl=ttl, event_id=event_id)
        return ReserveAnswer.from_message(self._call(self._entitlements.Reserve, request))

    def settle(
        self,
        lease_id: str,
        used: int,
        *,
        event_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> SettleAnswer:
        """End a lease: record what was used, and give the rest back.

        Args:
            lease_id: The lease, as `reserve` named it.
            used: What was used, in the feature's units, 0 to 2^53 - 1. It may be more than was granted.
            event_id: Idempotency key, at most 128 bytes. Without one a repeat is NotFound.
            metadata: Kept with the event: at most 16 pairs, 2 KiB in all.

        Returns:
            The `consumption` after it, and `late`: whether the lease had expired. The use is recorded all the same.

        Raises:
            NotFound: There is no such lease, or it was settled, or it expired so long ago that it was forgotten.
            AlreadyExists: The `event_id` was sent before with other content.
        """
        request = _requests.settle(lease_id, used, event_id=event_id, metadata=metadata)
        return SettleAnswer.from_message(self._call(self._entitlements.Settle, request))

    # Features

    def create_feature(
        self,
        feature_id: str,
        *,
        type: v1.FeatureType.ValueType,
        name: str = "",
        unit_label: str = "",
        unit_label_plural: str = "",
        metadata: Mapping[str, str] | None = None,
        on_unavailable: v1.OnUnavailable.ValueType = v1.ON_UNAVAILABLE_DENY,
    ) -> v1.Feature:
        """Create a feature.

        Args:
            feature_id: Your id for it, 1 to 128 bytes without control characters.
            type: `v1.FEATURE_TYPE_BINARY` or `v1.FEATURE_TYPE_CONSUMABLE`. It can't be changed.
            name: For people to read.
            unit_label: What one unit is called ("message").
            unit_label_plural: What several units are called ("messages").
            metadata: Kept with the feature: at most 16 pairs, 2 KiB in all.
            on_unavailable: What `can_use` answers while the store is unavailable: no, yes, or what was known last.

        Raises:
            AlreadyExists: The id is taken.
        """
        feature = build(
            v1.Feature,
            id=feature_id,
            type=type,
            name=name,
            unit_label=unit_label,
            unit_label_plural=unit_label_plural,
            on_unavailable=on_unavailable,
            **optional(metadata=metadata),
        )
        return self._call(self._catalog.CreateFeature, v1.CreateFeatureRequest(feature=feature)).feature

    def get_feature(self, feature_id: str) -> v1.Feature:
        """Get a feature. NotFound if there is none."""
        return self._call(self._catalog.GetFeature, build(v1.GetFeatureRequest, feature_id=feature_id)).feature

    def update_feature(
        self,
        feature_id: str,
        *,
        name: str | Unset = UNSET,
        unit_label: str | Unset = UNSET,
        unit_label_plural: str | Unset = UNSET,
        metadata: Mapping[str, str] | Unset = UNSET,
        on_unavailable: v1.OnUnavailable.ValueType | Unset = UNSET,
    ) -> v1.Feature:
        """Change the given fields of a feature, and no others.

        Returns:
            The feature after the change.

        Raises:
            NotFound: There is no such feature.
            BadArgument: No field was given.
        """
        request = _requests.update_feature(
            feature_id,
            name=name,
            unit_label=unit_label,
            unit_label_plural=unit_label_plural,
            metadata=metadata,
            on_unavailable=on_unavailable,
        )
        return self._call(self._catalog.UpdateFeature, request).feature

    def list_features(self, *, page_size: int = 50) -> Iterator[v1.Feature]:
        """Iterate over all features by id, archived ones too."""
        request = build(v1.ListFeaturesRequest, page_size=page_size)
        return self._pages(self._catalog.ListFeatures, request, lambda page: page.features)

    def archive_feature(self, feature_id: str) -> v1.Feature:
        """Archive a feature: from then on nobody may use it, and there is no way back. NotFound if there is none."""
        return self._call(self._catalog.ArchiveFeature, build(v1.ArchiveFeatureRequest, feature_id=feature_id)).feature

    # Packages

    def create_package(
        self,
        package_id: str,
        features: Iterable[v1.PackageFeature] = (),
        *,
        type: v1.PackageType.ValueType = v1.PACKAGE_TYPE_BASE,
        name: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> v1.Package:
        """Create a package as a draft; users can subscribe to it once it is published.

        Args:
            package_id: Your id for it, 1 to 128 bytes without control characters.
            features: What subscribers get, each feature once. One without a `limit` is unlimited, or binary:
                `v1.PackageFeature(feature_id="api-calls", limit=100, reset_period=v1.RESET_PERIOD_MONTH)`.
            type: `v1.PACKAGE_TYPE_BASE`, of which a user has one at a time, or `v1.PACKAGE_TYPE_ADD_ON`.
            name: For people to read.
            metadata: Kept with the package: at most 16 pairs, 2 KiB in all.

        Raises:
            AlreadyExists: The id is taken.
            NotFound: One of the features does not exist.
        """
        package = build(
            v1.Package, id=package_id, features=features, type=type, name=name, **optional(metadata=metadata)
        )
        return self._call(self._catalog.CreatePackage, v1.CreatePackageRequest(package=package)).package

    def get_package(self, package_id: str, *, version: int | None = None) -> v1.Package:
        """Get a package as it was last edited, or a version that was published. NotFound if there is none."""
        request = build(v1.GetPackageRequest, package_id=package_id, **optional(version=version))
        return self._call(self._catalog.GetPackage, request).package

    def update_package(
        self,
        package_id: str,
        *,
        features: Iterable[v1.PackageFeature] | Unset = UNSET,
        type: v1.PackageType.ValueType | Unset = UNSET,
        name: str | Unset = UNSET,
        metadata: Mapping[str, str] | Unset = UNSET,
    ) -> v1.Package:
        """Change the given fields of a draft, and no others. `features` replaces the whole list.

        On a published package it makes the next version, as a draft: `published_version` stays what it was until
        `publish_package`.

        Returns:
            The package after the change.

        Raises:
            NotFound: There is no such package, or one of the features does not exist.
            FailedPrecondition: The package is archived, or it was published and `type` is another one.
            BadArgument: No field was given.
        """
        request = _requests.update_package(package_id, features=features, type=type, name=name, metadata=metadata)
        return self._call(self._catalog.UpdatePackage, request).package

    def list_packages(self, *, page_size: int = 50) -> Iterator[v1.Package]:
        """Iterate over all packages by id, of every status."""
        request = build(v1.ListPackagesRequest, page_size=page_size)
        return self._pages(self._catalog.ListPackages, request, lambda page: page.packages)

    def publish_package(self, package_id: str) -> v1.Package:
        """Publish a draft: from then on new subscribers get it, and it never changes. NotFound if there is none."""
        return self._call(self._catalog.PublishPackage, build(v1.PublishPackageRequest, package_id=package_id)).package

    def archive_package(self, package_id: str) -> v1.Package:
        """Archive a package: nobody new can subscribe to it, who has it keeps it. NotFound if there is none."""
        return self._call(self._catalog.ArchivePackage, build(v1.ArchivePackageRequest, package_id=package_id)).package

    def migrate_subscriptions(
        self,
        package_id: str,
        *,
        from_version: int | None = None,
        to_version: int | None = None,
        dry_run: bool = False,
        resume_token: str | None = None,
    ) -> Iterator[v1.MigrateSubscriptionsResponse]:
        """Move subscriptions to another version of their package, and iterate over how far it is.

        It begins with the iteration and goes on for as long as that takes: `timeout_seconds` does not hold, but
        `silence_timeout_seconds` does. Ending the iteration ends the migration; what has moved has moved.

            for progress in client.migrate_subscriptions("pro"):
                print(progress.users, progress.migrated)

        Args:
            package_id: The package.
            from_version: Move only the subscriptions that are on this version. Default: those on any other.
            to_version: The published version to move them to. Default: the one that new subscriptions get.
            dry_run: Only count what would change.
            resume_token: Of the last message of an earlier call with the same arguments: go on from there.

        Returns:
            At least one message, the last one with `done`; the others come about once a second.

        Raises:
            NotFound: There is no such package or version.
            FailedPrecondition: The version was not published.
            InvalidArgument: The token belongs to other arguments.
            Unavailable: The server or its store went away: go on with the last `resume_token`.
            DeadlineExceeded: No message came for `silence_timeout_seconds`: go on with the last `resume_token`.
        """
        request = _requests.migrate_subscriptions(
            package_id, from_version=from_version, to_version=to_version, dry_run=dry_run, resume_token=resume_token
        )
        return self._stream(self._catalog.MigrateSubscriptions, request)

    # Users

    def create_user(
        self,
        user_id: str,
        *,
        name: str = "",
        email: str = "",
        billing_id: str = "",
        metadata: Mapping[str, str] | None = None,
        disabled: bool = False,
    ) -> v1.User:
        """Create a user.

        Args:
            user_id: Your id for them, 1 to 128 bytes without control characters.
            name: For people to read.
            email: Not checked.
            billing_id: Their id in the billing system.
            metadata: Kept with the user: at most 16 pairs, 2 KiB in all.
            disabled: A disabled user may use nothing.

        Raises:
            AlreadyExists: The id is taken.
        """
        user = build(
            v1.User,
            id=user_id,
            name=name,
            email=email,
            billing_id=billing_id,
            disabled=disabled,
            **optional(metadata=metadata),
        )
        return self._call(self._users.CreateUser, v1.CreateUserRequest(user=user)).user

    def get_user(self, user_id: str) -> v1.User:
        """Get a user. NotFound if there is none."""
        return self._call(self._users.GetUser, build(v1.GetUserRequest, user_id=user_id)).user

    def update_user(
        self,
        user_id: str,
        *,
        name: str | Unset = UNSET,
        email: str | Unset = UNSET,
        billing_id: str | Unset = UNSET,
        metadata: Mapping[str, str] | Unset = UNSET,
        disabled: bool | Unset = UNSET,
    ) -> v1.User:
        """Change the given fields of a user, and no others.

        Returns:
            The user after the change.

        Raises:
            NotFound: There is no such user.
            BadArgument: No field was given.
        """
        request = _requests.update_user(
            user_id, name=name, email=email, billing_id=billing_id, metadata=metadata, disabled=disabled
        )
        return self._call(self._users.UpdateUser, request).user

    def list_users(self, *, page_size: int = 50) -> Iterator[v1.User]:
        """Iterate over all users, in an order that is fixed but not that of their ids."""
        request = build(v1.ListUsersRequest, page_size=page_size)
        return self._pages(self._users.ListUsers, request, lambda page: page.users)

    def delete_user(self, user_id: str) -> None:
        """Erase a user and everything kept about them. NotFound if there is none."""
        self._call(self._users.DeleteUser, build(v1.DeleteUserRequest, user_id=user_id))

    # Subscriptions

    def subscribe(
        self,
        user_id: str,
        package_ids: Sequence[str],
        *,
        started_at: Moment | None = None,
        trial_end: Moment | None = None,
        status: v1.SubscriptionStatus.ValueType | None = None,
        event_id: str | None = None,
    ) -> list[v1.Subscription]:
        """Subscribe a user to published packages, all or none.

        Args:
            user_id: The user.
            package_ids: 1 to 32 packages.
            started_at: From when on, with a time zone; periods are counted from it. Default: now.
            trial_end: When the trial ends, with a time zone. Default: no trial.
            status: Default `v1.SUBSCRIPTION_STATUS_ACTIVE`, or TRIALING with a trial end.
            event_id: Idempotency key, at most 128 bytes. A repeat gets the first answer again and subscribes nobody.

        Returns:
            One subscription for each package, in the order of `package_ids`.

        Raises:
            NotFound: There is no such user or package.
            FailedPrecondition: A package is not published, or the user would have two base packages, or more than 100
                subscriptions that have not ended.
            AlreadyExists: The `event_id` was sent before with other content.
            BadArgument: A time without a time zone.
        """
        request = _requests.subscribe(
            user_id, package_ids, started_at=started_at, trial_end=trial_end, status=status, event_id=event_id
        )
        return list(self._call(self._subscriptions.Subscribe, request).subscriptions)

    def get_subscription(self, subscription_id: str) -> v1.Subscription:
        """Get a subscription. NotFound if there is none."""
        request = build(v1.GetSubscriptionRequest, subscription_id=subscription_id)
        return self._call(self._subscriptions.GetSubscription, request).subscription

    def list_subscriptions(self, user_id: str, *, page_size: int = 50) -> Iterator[v1.Subscription]:
        """Iterate over a user's subscriptions, oldest first, ended ones too."""
        request = build(v1.ListSubscriptionsRequest, user_id=user_id, page_size=page_size)
        return self._pages(self._subscriptions.ListSubscriptions, request, lambda page: page.subscriptions)

    def update_subscription(
        self,
        subscription_id: str,
        *,
        status: v1.SubscriptionStatus.ValueType | Unset = UNSET,
        trial_end: Moment | Unset | None = UNSET,
        cancel_at: Moment | Unset | None = UNSET,
    ) -> v1.Subscription:
        """Change the status, the trial end or the end of a subscription. A time of None takes the time away.

        Returns:
            The subscription after the change.

        Raises:
            NotFound: There is no such subscription.
            BadArgument: No field was given, or a time without a time zone.
        """
        request = _requests.update_subscription(
            subscription_id, status=status, trial_end=trial_end, cancel_at=cancel_at
        )
        return self._call(self._subscriptions.UpdateSubscription, request).subscription

    def cancel_subscription(self, subscription_id: str, *, at_period_end: bool = False) -> v1.Subscription:
        """Cancel a subscription, now or at the end of its period or trial.

        Returns:
            The subscription after it; `cancel_at` says when it ends.

        Raises:
            NotFound: There is no such subscription.
            FailedPrecondition: It has no period that ends.
        """
        request = build(v1.CancelSubscriptionRequest, subscription_id=subscription_id, at_period_end=at_period_end)
        return self._call(self._subscriptions.CancelSubscription, request).subscription

    # Grants

    def create_grant(
        self,
        user_id: str,
        grant_id: str,
        feature_id: str,
        *,
        amount: int | None,
        effective_at: Moment | None = None,
        expires_at: Moment | None = None,
        priority: int = 0,
        note: str = "",
    ) -> v1.Grant:
        """Give a user an amount of a feature on top of packages.

        The same call again changes nothing, so that it can be repeated when no answer came.

        Args:
            user_id: The user.
            grant_id: Your id for it, one of its own for each grant of the user.
            feature_id: The feature.
            amount: Units, 1 to 2^53 - 1, or None for unlimited; None for a binary feature, which the grant switches on.
            effective_at: From when on it can be used, with a time zone. Default: now.
            expires_at: From when on it gives nothing, with a time zone. Default: never.
            priority: The grant with the lower number is drawn from first, 0 to 1,000,000.
            note: What it was given for, at most 256 bytes.

        Raises:
            NotFound: There is no such user or feature.
            AlreadyExists: The user has a grant with this id and other content.
            FailedPrecondition: The feature is archived, or the user has too many grants of it.
            BadArgument: A time without a time zone.
        """
        request = _requests.create_grant(
            user_id,
            grant_id,
            feature_id,
            amount=amount,
            effective_at=effective_at,
            expires_at=expires_at,
            priority=priority,
            note=note,
        )
        return self._call(self._subscriptions.CreateGrant, request).grant

    def list_grants(self, user_id: str, *, page_size: int = 50) -> Iterator[v1.Grant]:
        """Iterate over a user's grants by id, ended ones too."""
        request = build(v1.ListGrantsRequest, user_id=user_id, page_size=page_size)
        return self._pages(self._subscriptions.ListGrants, request, lambda page: page.grants)

    def revoke_grant(self, user_id: str, grant_id: str) -> v1.Grant:
        """Revoke a grant: from now on it gives nothing; what was drawn from it stays used.

        Returns:
            The grant after it; revoking twice changes nothing.

        Raises:
            NotFound: There is no such user, or they have no such grant.
        """
        request = build(v1.RevokeGrantRequest, user_id=user_id, grant_id=grant_id)
        return self._call(self._subscriptions.RevokeGrant, request).grant

    # API keys

    def create_api_key(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        environment: v1.Environment.ValueType,
        expires_at: Moment | None = None,
    ) -> NewApiKey:
        """Make an API key. Its `secret` is in this answer and nowhere else: keep it.

        Args:
            name: Who it is for, 1 to 128 bytes. Several keys may have the same name.
            scopes: What it may do, of entitlements:read, usage:write, catalog:read, catalog:write and keys:admin.
            environment: `v1.ENVIRONMENT_LIVE` or `v1.ENVIRONMENT_TEST`: where every call made with it takes place.
            expires_at: From when on it is not taken any more, with a time zone. Default: never.

        Raises:
            FailedPrecondition: The first key has to be live, with keys:admin and without an expiry; or there are too
                many keys.
            PermissionDenied: The client's own key may not make keys, or not of this environment.
            BadArgument: A time without a time zone.
        """
        request = _requests.create_api_key(name, scopes, environment=environment, expires_at=expires_at)
        made = self._call(self._api_keys.CreateApiKey, request)
        return NewApiKey(made.api_key, made.secret)

    def list_api_keys(self, *, page_size: int = 50) -> Iterator[v1.ApiKey]:
        """Iterate over the API keys, the oldest first, without their secrets."""
        request = build(v1.ListApiKeysRequest, page_size=page_size)
        return self._pages(self._api_keys.ListApiKeys, request, lambda page: page.api_keys)

    def revoke_api_key(self, api_key_id: str) -> v1.ApiKey:
        """Revoke an API key, by its id: within a second no server takes it any more.

        Returns:
            The key as it was.

        Raises:
            NotFound: There is no such key, or not any more.
            FailedPrecondition: Nobody could make keys without it.
        """
        request = build(v1.RevokeApiKeyRequest, api_key_id=api_key_id)
        return self._call(self._api_keys.RevokeApiKey, request).api_key

    # What every method goes through

    def _call(self, method: "grpc.UnaryUnaryMultiCallable[_Request, _Response]", request: _Request) -> _Response:
        """Make one call; raises a CanuseError where it fails."""
        if self._retry_uses:
            _requests.give_event_ids(request)
        try:
            return method(request, timeout=self._timeout_seconds, metadata=self._metadata)
        except (grpc.RpcError, ValueError) as error:
            raise _typed(error) from error

    def _stream(
        self, method: "grpc.UnaryStreamMultiCallable[_Request, _Response]", request: _Request
    ) -> Iterator[_Response]:
        """Yield the messages of a call; it is cancelled where its caller wants no more, or none comes for too long."""
        try:
            call = method(request, metadata=self._metadata)
        except ValueError as error:
            raise _typed(error) from error
        try:
            while (message := _next(call, call.cancel, self._silence_timeout_seconds)) is not None:
                yield message
        finally:
            call.cancel()

    def _pages(
        self,
        method: "grpc.UnaryUnaryMultiCallable[_PagedRequest, _PagedResponse]",
        request: _PagedRequest,
        items: Callable[[_PagedResponse], Iterable[_Item]],
    ) -> Iterator[_Item]:
        """Yield the items of all pages, fetching each when it is needed."""
        while True:
            page = self._call(method, request)
            yield from items(page)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _typed(error: grpc.RpcError | ValueError) -> Exception:
    """Return the CanuseError for what gRPC raised."""
    if isinstance(error, grpc.RpcError):
        return from_rpc_error(error)
    # gRPC has no class for it: "Cannot invoke RPC on closed channel!"
    return closed_before() if "Cannot invoke RPC" in str(error) else error


def _next(call: Iterator[_Response], cancel: Callable[[], object], silence_seconds: float) -> _Response | None:
    """Return the next message of a stream, None at its end; raises DeadlineExceeded where none comes in time."""
    was_silent = Event()

    def give_up() -> None:
        was_silent.set()
        cancel()

    timer = Timer(silence_seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        return next(call, None)
    except grpc.RpcError as error:
        if was_silent.is_set():
            raise silent(silence_seconds) from None
        raise from_rpc_error(error) from error
    finally:
        timer.cancel()


def _entitlements_of(page: v1.ListEntitlementsResponse) -> Iterable[Entitlement]:
    return map(Entitlement.from_message, page.entitlements)


def _open(target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]) -> grpc.Channel:
    """Open a channel, with TLS where there are credentials."""
    if credentials is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, credentials, options)
