"""The client for asyncio. `canuse.Client` has the same methods for code with threads."""

# ruff: noqa: A002 - `type` is what the field is called everywhere else too

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc
import grpc.aio

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
from canuse._pending import calls_are_pending
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
from canuse.errors import CanuseError, closed_before, closed_under_way, from_rpc_error, silent

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_PagedRequest = TypeVar("_PagedRequest", bound=PagedRequest)
_PagedResponse = TypeVar("_PagedResponse", bound=PagedResponse)
_Item = TypeVar("_Item")


@calls_are_pending
class AsyncClient:
    """Asks canuse what users may use, from asyncio: `Client`, with every call awaited.

        async with canuse.AsyncClient("localhost:50051") as client:
            if await client.can_use("user-124", "api-calls"):
                ...
                await client.create_usage_event("user-124", "api-calls")

    Arguments, results and errors are those of the same methods of `Client`. A call that is not awaited is no answer:
    `if client.can_use(…)` raises TypeError. The `list_*` methods return asynchronous iterators. A client belongs to the
    event loop it was made in, and any number of its tasks may share it.
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
        channel: grpc.aio.Channel | None = None,
        options: Sequence[tuple[str, Any]] = (),
        retry_uses: bool = False,
    ) -> None:
        """Prepare a client inside a running event loop; the first call connects. The arguments are those of `Client`.

        Raises:
            BadArgument: A setting that can't hold, or does not go with another, by its name.
            OSError: A file of `tls` can't be read.
            RuntimeError: No event loop is running: calls from another one would fail later, and less clearly.
        """
        self._loop = asyncio.get_running_loop()
        check_settings(grpc.aio.Channel, channel, credentials, tls, options, retry_uses)
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
        self._channel = channel
        self._entitlements = v1.EntitlementServiceStub(channel)
        self._usage = v1.UsageServiceStub(channel)
        self._catalog = v1.CatalogServiceStub(channel)
        self._users = v1.UserServiceStub(channel)
        self._subscriptions = v1.SubscriptionServiceStub(channel)
        self._api_keys = v1.ApiKeyServiceStub(channel)

    async def close(self) -> None:
        """Close the connection; calls under way raise ClientClosed. A channel that was passed in stays open."""
        if self._owned is not None:
            await self._owned.close()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    # Entitlements and usage

    async def can_use(self, user_id: str, feature_id: str, delta: int = 1, *, explain: bool = False) -> CanUseAnswer:
        """Ask whether a user may use an amount of a feature now, without recording anything."""
        request = build(v1.CanUseRequest, user_id=user_id, feature_id=feature_id, delta=delta, explain=explain)
        return CanUseAnswer.from_message(await self._call(self._entitlements.CanUse, request))

    async def create_usage_event(
        self,
        user_id: str,
        feature_id: str,
        delta: int | None = None,
        *,
        action: v1.UsageAction.ValueType = v1.USAGE_ACTION_ADD,
        event_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> CreateUsageEventAnswer:
        """Record that a use happened, past the budget too."""
        request = _requests.create_usage_event(
            user_id, feature_id, delta=delta, action=action, event_id=event_id, metadata=metadata
        )
        return CreateUsageEventAnswer.from_message(await self._call(self._entitlements.CreateUsageEvent, request))

    async def use_feature(
        self,
        user_id: str,
        feature_id: str,
        delta: int = 1,
        *,
        event_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> UseFeatureAnswer:
        """Check and record a use in one atomic step."""
        request = _requests.use_feature(user_id, feature_id, delta=delta, event_id=event_id, metadata=metadata)
        return UseFeatureAnswer.from_message(await self._call(self._entitlements.UseFeature, request))

    async def use_features(
        self,
        user_id: str,
        charges: Mapping[str, int],
        *,
        event_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> UseFeaturesAnswer:
        """Check and record uses of several features in one atomic step: all of them or none."""
        request = _requests.use_features(user_id, charges, event_id=event_id, metadata=metadata)
        return UseFeaturesAnswer.from_message(await self._call(self._entitlements.UseFeatures, request))

    async def batch_can_use(self, requests: Iterable[v1.CanUseRequest]) -> list[CanUseAnswer | CanuseError]:
        """Ask many checks at once."""
        answer = await self._call(self._entitlements.BatchCanUse, build(v1.BatchCanUseRequest, requests=requests))
        return batch_can_use_answers(answer)

    async def batch_create_usage_events(
        self, requests: Iterable[v1.CreateUsageEventRequest]
    ) -> list[CreateUsageEventAnswer | CanuseError]:
        """Record many uses at once, those of one user in their order."""
        request = build(v1.BatchCreateUsageEventsRequest, requests=requests)
        answer = await self._call(self._entitlements.BatchCreateUsageEvents, request)
        return batch_create_usage_events_answers(answer)

    def list_entitlements(self, user_id: str, *, page_size: int = 50) -> AsyncIterator[Entitlement]:
        """Iterate over what a user may use, one entry per feature, ordered by feature id."""
        request = build(v1.ListEntitlementsRequest, user_id=user_id, page_size=page_size)
        return self._pages(self._entitlements.ListEntitlements, request, _entitlements_of)

    async def show_usage(self, user_id: str, feature_id: str) -> ShowUsageAnswer:
        """Show what a user has used of a consumable feature: the `current` period, and `past` ones, newest first."""
        return ShowUsageAnswer.from_message(
            await self._call(self._usage.ShowUsage, build(v1.ShowUsageRequest, user_id=user_id, feature_id=feature_id))
        )

    def list_usage_events(
        self,
        user_id: str,
        *,
        feature_id: str | None = None,
        start_time: Moment | None = None,
        end_time: Moment | None = None,
        page_size: int = 50,
    ) -> AsyncIterator[v1.UsageEvent]:
        """Iterate over what was recorded for a user, newest first, as far back as the ledger is kept."""
        request = _requests.list_usage_events(
            user_id, feature_id=feature_id, start_time=start_time, end_time=end_time, page_size=page_size
        )
        return self._pages(self._usage.ListUsageEvents, request, lambda page: page.events)

    # Leases

    async def reserve(
        self,
        user_id: str,
        feature_id: str,
        amount: int,
        *,
        min_amount: int = 1,
        ttl: Length | None = None,
        event_id: str | None = None,
    ) -> ReserveAnswer:
        """Set an amount aside ahead of use, or what there is of it: a lease, to be settled."""
        request = _requests.reserve(user_id, feature_id, amount, min_amount=min_amount, ttl=ttl, event_id=event_id)
        return ReserveAnswer.from_message(await self._call(self._entitlements.Reserve, request))

    async def settle(
        self,
        lease_id: str,
        used: int,
        *,
        event_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> SettleAnswer:
        """End a lease: record what was used, and give the rest back."""
        request = _requests.settle(lease_id, used, event_id=event_id, metadata=metadata)
        return SettleAnswer.from_message(await self._call(self._entitlements.Settle, request))

    # Features

    async def create_feature(
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
        """Create a feature."""
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
        return (await self._call(self._catalog.CreateFeature, v1.CreateFeatureRequest(feature=feature))).feature

    async def get_feature(self, feature_id: str) -> v1.Feature:
        """Get a feature. NotFound if there is none."""
        return (await self._call(self._catalog.GetFeature, build(v1.GetFeatureRequest, feature_id=feature_id))).feature

    async def update_feature(
        self,
        feature_id: str,
        *,
        name: str | Unset = UNSET,
        unit_label: str | Unset = UNSET,
        unit_label_plural: str | Unset = UNSET,
        metadata: Mapping[str, str] | Unset = UNSET,
        on_unavailable: v1.OnUnavailable.ValueType | Unset = UNSET,
    ) -> v1.Feature:
        """Change the given fields of a feature, and no others."""
        request = _requests.update_feature(
            feature_id,
            name=name,
            unit_label=unit_label,
            unit_label_plural=unit_label_plural,
            metadata=metadata,
            on_unavailable=on_unavailable,
        )
        return (await self._call(self._catalog.UpdateFeature, request)).feature

    def list_features(self, *, page_size: int = 50) -> AsyncIterator[v1.Feature]:
        """Iterate over all features by id, archived ones too."""
        request = build(v1.ListFeaturesRequest, page_size=page_size)
        return self._pages(self._catalog.ListFeatures, request, lambda page: page.features)

    async def archive_feature(self, feature_id: str) -> v1.Feature:
        """Archive a feature: from then on nobody may use it, and there is no way back. NotFound if there is none."""
        return (
            await self._call(self._catalog.ArchiveFeature, build(v1.ArchiveFeatureRequest, feature_id=feature_id))
        ).feature

    # Packages

    async def create_package(
        self,
        package_id: str,
        features: Iterable[v1.PackageFeature] = (),
        *,
        type: v1.PackageType.ValueType = v1.PACKAGE_TYPE_BASE,
        name: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> v1.Package:
        """Create a package as a draft; users can subscribe to it once it is published."""
        package = build(
            v1.Package, id=package_id, features=features, type=type, name=name, **optional(metadata=metadata)
        )
        return (await self._call(self._catalog.CreatePackage, v1.CreatePackageRequest(package=package))).package

    async def get_package(self, package_id: str, *, version: int | None = None) -> v1.Package:
        """Get a package as it was last edited, or a version that was published. NotFound if there is none."""
        request = build(v1.GetPackageRequest, package_id=package_id, **optional(version=version))
        return (await self._call(self._catalog.GetPackage, request)).package

    async def update_package(
        self,
        package_id: str,
        *,
        features: Iterable[v1.PackageFeature] | Unset = UNSET,
        type: v1.PackageType.ValueType | Unset = UNSET,
        name: str | Unset = UNSET,
        metadata: Mapping[str, str] | Unset = UNSET,
    ) -> v1.Package:
        """Change the given fields of a draft, and no others. `features` replaces the whole list."""
        request = _requests.update_package(package_id, features=features, type=type, name=name, metadata=metadata)
        return (await self._call(self._catalog.UpdatePackage, request)).package

    def list_packages(self, *, page_size: int = 50) -> AsyncIterator[v1.Package]:
        """Iterate over all packages by id, of every status."""
        request = build(v1.ListPackagesRequest, page_size=page_size)
        return self._pages(self._catalog.ListPackages, request, lambda page: page.packages)

    async def publish_package(self, package_id: str) -> v1.Package:
        """Publish a draft: from then on new subscribers get it, and it never changes. NotFound if there is none."""
        return (
            await self._call(self._catalog.PublishPackage, build(v1.PublishPackageRequest, package_id=package_id))
        ).package

    async def archive_package(self, package_id: str) -> v1.Package:
        """Archive a package: nobody new can subscribe to it, who has it keeps it. NotFound if there is none."""
        return (
            await self._call(self._catalog.ArchivePackage, build(v1.ArchivePackageRequest, package_id=package_id))
        ).package

    def migrate_subscriptions(
        self,
        package_id: str,
        *,
        from_version: int | None = None,
        to_version: int | None = None,
        dry_run: bool = False,
        resume_token: str | None = None,
    ) -> AsyncIterator[v1.MigrateSubscriptionsResponse]:
        """Move subscriptions to another version of their package, and iterate over how far it is."""
        request = _requests.migrate_subscriptions(
            package_id, from_version=from_version, to_version=to_version, dry_run=dry_run, resume_token=resume_token
        )
        return self._stream(self._catalog.MigrateSubscriptions, request)

    # Users

    async def create_user(
        self,
        user_id: str,
        *,
        name: str = "",
        email: str = "",
        billing_id: str = "",
        metadata: Mapping[str, str] | None = None,
        disabled: bool = False,
    ) -> v1.User:
        """Create a user."""
        user = build(
            v1.User,
            id=user_id,
            name=name,
            email=email,
            billing_id=billing_id,
            disabled=disabled,
            **optional(metadata=metadata),
        )
        return (await self._call(self._users.CreateUser, v1.CreateUserRequest(user=user))).user

    async def get_user(self, user_id: str) -> v1.User:
        """Get a user. NotFound if there is none."""
        return (await self._call(self._users.GetUser, build(v1.GetUserRequest, user_id=user_id))).user

    async def update_user(
        self,
        user_id: str,
        *,
        name: str | Unset = UNSET,
        email: str | Unset = UNSET,
        billing_id: str | Unset = UNSET,
        metadata: Mapping[str, str] | Unset = UNSET,
        disabled: bool | Unset = UNSET,
    ) -> v1.User:
        """Change the given fields of a user, and no others."""
        request = _requests.update_user(
            user_id, name=name, email=email, billing_id=billing_id, metadata=metadata, disabled=disabled
        )
        return (await self._call(self._users.UpdateUser, request)).user

    def list_users(self, *, page_size: int = 50) -> AsyncIterator[v1.User]:
        """Iterate over all users, in an order that is fixed but not that of their ids."""
        request = build(v1.ListUsersRequest, page_size=page_size)
        return self._pages(self._users.ListUsers, request, lambda page: page.users)

    async def delete_user(self, user_id: str) -> None:
        """Erase a user and everything kept about them. NotFound if there is none."""
        await self._call(self._users.DeleteUser, build(v1.DeleteUserRequest, user_id=user_id))

    # Subscriptions

    async def subscribe(
        self,
        user_id: str,
        package_ids: Sequence[str],
        *,
        started_at: Moment | None = None,
        trial_end: Moment | None = None,
        status: v1.SubscriptionStatus.ValueType | None = None,
        event_id: str | None = None,
    ) -> list[v1.Subscription]:
        """Subscribe a user to published packages, all or none."""
        request = _requests.subscribe(
            user_id, package_ids, started_at=started_at, trial_end=trial_end, status=status, event_id=event_id
        )
        return list((await self._call(self._subscriptions.Subscribe, request)).subscriptions)

    async def get_subscription(self, subscription_id: str) -> v1.Subscription:
        """Get a subscription. NotFound if there is none."""
        request = build(v1.GetSubscriptionRequest, subscription_id=subscription_id)
        return (await self._call(self._subscriptions.GetSubscription, request)).subscription

    def list_subscriptions(self, user_id: str, *, page_size: int = 50) -> AsyncIterator[v1.Subscription]:
        """Iterate over a user's subscriptions, oldest first, ended ones too."""
        request = build(v1.ListSubscriptionsRequest, user_id=user_id, page_size=page_size)
        return self._pages(self._subscriptions.ListSubscriptions, request, lambda page: page.subscriptions)

    async def update_subscription(
        self,
        subscription_id: str,
        *,
        status: v1.SubscriptionStatus.ValueType | Unset = UNSET,
        trial_end: Moment | Unset | None = UNSET,
        cancel_at: Moment | Unset | None = UNSET,
    ) -> v1.Subscription:
        """Change the status, the trial end or the end of a subscription. A time of None takes the time away."""
        request = _requests.update_subscription(
            subscription_id, status=status, trial_end=trial_end, cancel_at=cancel_at
        )
        return (await self._call(self._subscriptions.UpdateSubscription, request)).subscription

    async def cancel_subscription(self, subscription_id: str, *, at_period_end: bool = False) -> v1.Subscription:
        """Cancel a subscription, now or at the end of its period or trial."""
        request = build(v1.CancelSubscriptionRequest, subscription_id=subscription_id, at_period_end=at_period_end)
        return (await self._call(self._subscriptions.CancelSubscription, request)).subscription

    # Grants

    async def create_grant(
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
        """Give a user an amount of a feature on top of packages."""
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
        return (await self._call(self._subscriptions.CreateGrant, request)).grant

    def list_grants(self, user_id: str, *, page_size: int = 50) -> AsyncIterator[v1.Grant]:
        """Iterate over a user's grants by id, ended ones too."""
        request = build(v1.ListGrantsRequest, user_id=user_id, page_size=page_size)
        return self._pages(self._subscriptions.ListGrants, request, lambda page: page.grants)

    async def revoke_grant(self, user_id: str, grant_id: str) -> v1.Grant:
        """Revoke a grant: from now on it gives nothing; what was drawn from it stays used."""
        request = build(v1.RevokeGrantRequest, user_id=user_id, grant_id=grant_id)
        return (await self._call(self._subscriptions.RevokeGrant, request)).grant

    # API keys

    async def create_api_key(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        environment: v1.Environment.ValueType,
        expires_at: Moment | None = None,
    ) -> NewApiKey:
        """Make an API key. Its `secret` is in this answer and nowhere else: keep it."""
        request = _requests.create_api_key(name, scopes, environment=environment, expires_at=expires_at)
        made = await self._call(self._api_keys.CreateApiKey, request)
        return NewApiKey(made.api_key, made.secret)

    def list_api_keys(self, *, page_size: int = 50) -> AsyncIterator[v1.ApiKey]:
        """Iterate over the API keys, the oldest first, without their secrets."""
        request = build(v1.ListApiKeysRequest, page_size=page_size)
        return self._pages(self._api_keys.ListApiKeys, request, lambda page: page.api_keys)

    async def revoke_api_key(self, api_key_id: str) -> v1.ApiKey:
        """Revoke an API key, by its id: within a second no server takes it any more."""
        request = build(v1.RevokeApiKeyRequest, api_key_id=api_key_id)
        return (await self._call(self._api_keys.RevokeApiKey, request)).api_key

    # What every method goes through

    async def _call(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]", request: _Request
    ) -> _Response:
        """Make one call; raises a CanuseError where it fails."""
        if self._retry_uses:
            _requests.give_event_ids(request)
        with self._typed_errors():
            return await method(request, timeout=self._timeout_seconds, metadata=self._metadata)

    async def _stream(
        self, method: "grpc.aio.UnaryStreamMultiCallable[_Request, _Response]", request: _Request
    ) -> AsyncIterator[_Response]:
        """Yield the messages of a call; it is cancelled where its caller wants no more, or none comes for too long."""
        with self._typed_errors():
            call = method(request, metadata=self._metadata)
        try:
            while (message := await self._next(call)) is not None:
                yield message
        finally:
            call.cancel()

    async def _next(self, call: "grpc.aio.UnaryStreamCall[_Request, _Response]") -> _Response | None:
        """Return the next message of a stream, None at its end; raises DeadlineExceeded where none comes in time."""
        try:
            with self._typed_errors():
                async with asyncio.timeout(self._silence_timeout_seconds):
                    message = await call.read()
        except TimeoutError:
            raise silent(self._silence_timeout_seconds) from None
        return None if message is grpc.aio.EOF else cast("_Response", message)

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        """Turn what gRPC raises into a CanuseError, and leave alone what comes of a task that was cancelled."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("this AsyncClient belongs to another event loop: make one in each")
        cancelled_before = _times_cancelled()
        try:
            yield
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        except grpc.aio.UsageError:
            if self._is_closed():
                raise closed_before() from None
            raise
        except asyncio.CancelledError:
            # gRPC cancels the calls of a channel that is closed, as if somebody had cancelled their tasks.
            if self._is_closed() and _times_cancelled() == cancelled_before:
                raise closed_under_way() from None
            raise

    def _is_closed(self) -> bool:
        return self._channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN

    async def _pages(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[_PagedRequest, _PagedResponse]",
        request: _PagedRequest,
        items: Callable[[_PagedResponse], Iterable[_Item]],
    ) -> AsyncIterator[_Item]:
        """Yield the items of all pages, fetching each when it is needed."""
        while True:
            page = await self._call(method, request)
            for item in items(page):
                yield item
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _times_cancelled() -> int:
    """Return how often somebody has asked the running task to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _entitlements_of(page: v1.ListEntitlementsResponse) -> Iterable[Entitlement]:
    return map(Entitlement.from_message, page.entitlements)


def _open(
    target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
) -> grpc.aio.Channel:
    """Open a channel, with TLS where there are credentials."""
    if credentials is None:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, credentials, options)
