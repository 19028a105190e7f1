"""Changes of a user: read, decide, and write if the user has not changed since; otherwise retry."""

import secrets
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, ErrorReason, package_not_found, user_not_found
from canuse_server.api.users.audit import entry_of, entry_of_new
from canuse_server.api.users.retry import retry_on_conflict
from canuse_server.domain.carry_over import CarryOver, carry_over, carry_over_ahead, carry_over_one
from canuse_server.domain.entitlements import Entitlement, resolve, without_effect
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import (
    FeatureType,
    Grant,
    Package,
    PackageStatus,
    Profile,
    Subscription,
    SubscriptionStatus,
)
from canuse_server.domain.subscriptions import end_ms
from canuse_server.runtime.call_state import unconfirmed
from canuse_server.runtime.fairness import FairSemaphore
from canuse_server.store.codec.user_values import Meta
from canuse_server.store.errors import ConflictError, OutcomeUnknownError, StoreUnavailableError
from canuse_server.store.repositories.users.change import Event, PlacedGrant, UserChange
from canuse_server.store.repositories.users.state import UserState

_Result = TypeVar("_Result")


class ProfileChange(NamedTuple):
    """A new profile, and the one that it replaces: indexes of users follow from both."""

    old: Profile
    new: Profile


@dataclass(frozen=True, slots=True)
class Edit:
    """A requested change of a user; None changes nothing.

    `subscriptions` are new or changed. `grant_order` goes with `grant`: the new order of all grants of its feature.
    `event` is the stored answer for repetitions of the call. `replaced` are the former states of those subscriptions
    that the user as read may not contain.
    """

    subscriptions: tuple[Subscription, ...] = ()
    disabled: bool | None = None
    profile: ProfileChange | None = None
    grant: Grant | None = None
    grant_order: tuple[PlacedGrant, ...] = ()
    event: Event | None = None
    replaced: tuple[Subscription, ...] = ()


class Changed(NamedTuple, Generic[_Result]):
    """The user as read for a change, the entitlements after it, and the result of `edit`."""

    state: UserState
    entitlements: Mapping[str, Entitlement]
    result: _Result


EditUser: TypeAlias = Callable[[UserState], Awaitable[tuple[Edit | None, _Result]]]
"""Returns the change of a user as read, or None to write nothing, and a result for the caller."""


async def change_user(
    env: Environment, user_id: str, edit: EditUser[_Result], *, or_create: bool = False
) -> Changed[_Result]:
    """Change a user in one step and bring the entitlements up to date. `edit` is called for each attempt.

    With `or_create` it is also called for a user that does not exist, and its change creates the user.

    Raises:
        ApiError: the user does not exist; also errors of `edit`.
        AnsweredError: the event id has a stored answer.
        EventIdReusedError: the event id belongs to a different call.
    """
    async with env.user_semaphores.setdefault(user_id, FairSemaphore()).acquire():
        return await _change_user(env, user_id, edit, or_create=or_create)


async def _change_user(
    env: Environment, user_id: str, edit: EditUser[_Result], *, or_create: bool = False
) -> Changed[_Result]:
    async def change() -> Changed[_Result]:
        state = await env.users.read(user_id)
        if state is None and or_create:
            state = await _new_user(env, user_id)
        if state is None:
            raise user_not_found(user_id)
        if state.runs_ahead():
            # Settled first, so that `edit` reads the counts in the periods in which they belong.
            await env.users.apply((await _user_change(env, state, Edit()))[0])
            raise ConflictError
        requested, result = await edit(state)
        if requested is None:
            return Changed(state, state.entitlements, result)
        update, entitlements = await _user_change(env, state, requested)
        await env.users.apply(update)
        return Changed(state, entitlements, result)

    return await retry_on_conflict(change, f"user {user_id!r}")


async def renew(env: Environment, user_id: str) -> None:
    """Bring a user's entitlements up to date after the end of a period or another date, without a confirmation.

    Raises:
        ApiError: the user does not exist.
    """
    try:
        # A semaphore of its own: checks must not wait for a change that waits for its confirmation.
        async with env.renewals.setdefault(user_id, FairSemaphore()).acquire():
            with unconfirmed():
                await _change_user(env, user_id, _renew_only)
    except OutcomeUnknownError as error:
        # It counts no use, so its outcome does not matter to the call that needs it.
        raise StoreUnavailableError(str(error)) from error


async def _renew_only(state: UserState) -> tuple[Edit | None, None]:
    # If many calls find the user stale, only the first one writes.
    return (None if state.is_current() else Edit()), None


async def create_user(env: Environment, user_id: str, profile: Profile, *, disabled: bool) -> Meta | None:
    """Create a user and return its meta, or None if the user exists."""
    meta = Meta(disabled, 1, await env.store.now_ms(env.keys.user(user_id)))
    try:
        audit = entry_of_new(user_id, profile, disabled=disabled)
        await env.users.apply(UserChange(user_id, b"", meta, profile, audit=audit))
    except ConflictError:
        return None
    return meta


async def create_default_user(env: Environment, user_id: str) -> None:
    """Create a user who is subscribed to the default package. Like `renew`, it does not wait for a confirmation.

    Raises:
        ApiError: there is no default package, or it is not published.
    """
    if not env.default_package:
        await env.store.require_data()
        raise user_not_found(user_id)
    try:
        package = await published_package(env, env.default_package)
    except ApiError as error:
        text = f"user {user_id!r} does not exist, and the default package is not available: {error.message}"
        raise ApiError(error.reason, text, {"user_id": user_id, **error.metadata}) from None
    state = await _new_user(env, user_id)
    subscription = Subscription(new_token(()), package.id, package.version, SubscriptionStatus.ACTIVE, state.now_ms)
    try:
        with unconfirmed():
            await env.users.apply((await _user_change(env, state, Edit((subscription,))))[0])
    except ConflictError:
        return  # Another call was first.
    except OutcomeUnknownError as error:
        raise StoreUnavailableError(str(error)) from error  # As in `renew`.


async def _new_user(env: Environment, user_id: str) -> UserState:
    """Return the state of a user that does not exist, which a change of it creates."""
    # The time of the server that later decides whether the user's subscriptions have started.
    now_ms = await env.store.now_ms(env.keys.user(user_id))
    return UserState(user_id, now_ms, b"", Meta(disabled=False, revision=0, created_at_ms=now_ms), (), {}, {})


async def published_package(env: Environment, package_id: str) -> Package:
    """Return the published version of a package; raise ApiError if there is none."""
    package = await env.catalog.package(package_id)
    if package is None:
        raise package_not_found(package_id)
    if package.status == PackageStatus.ARCHIVED:
        text = f"package {package_id!r} is archived and accepts no new subscriptions"
        raise ApiError(ErrorReason.PACKAGE_NOT_PUBLISHED, text, {"package_id": package_id})
    if not package.is_known:
        text = f"package {package_id!r} was written by a newer version of canuse and cannot be used by this version"
        raise ApiError(ErrorReason.PACKAGE_NOT_PUBLISHED, text, {"package_id": package_id})
    if not package.published_version:
        text = f"package {package_id!r} has no published version; publish its draft with PublishPackage"
        raise ApiError(ErrorReason.PACKAGE_NOT_PUBLISHED, text, {"package_id": package_id})
    version = (package_id, package.published_version)
    await env.cache.load_packages([version])
    return env.cache.packages[version]


def new_token(taken: Collection[str]) -> str:
    """Return a random token that is not in `taken`."""
    while (token := secrets.token_hex(4)) in taken:
        continue
    return token


class PlannedVersions(NamedTuple):
    """Versions of packages that are not published yet, and the types of the features that they list."""

    packages: Mapping[tuple[str, int], Package]
    types: Mapping[str, FeatureType | int]


NOTHING_PLANNED: Final = PlannedVersions({}, {})


async def entitlements_with(
    env: Environment,
    state: UserState,
    changed: Iterable[Subscription] = (),
    planned: PlannedVersions = NOTHING_PLANNED,
) -> Mapping[str, Entitlement]:
    """Return a user's entitlements with some subscriptions new or changed, at the time of the read.

    The subscriptions can be to planned versions.
    """
    merged = _merged(state, changed)
    published = [item for item in merged if _version(item) not in planned.packages]
    types = await _types(env, published, state.grants)
    packages = {version: env.cache.packages[version] for version in map(_version, published)}
    return resolve(merged, {**packages, **planned.packages}, {**types, **planned.types}, state.grants, state.now_ms)


def _version(subscription: Subscription) -> tuple[str, int]:
    return subscription.package_id, subscription.package_version


async def _user_change(env: Environment, state: UserState, edit: Edit) -> tuple[UserChange, Mapping[str, Entitlement]]:
    """Return the write for an edit, and the entitlements after it."""
    merged = _merged(state, edit.subscriptions)
    orders = {edit.grant.feature_id: edit.grant_order} if edit.grant else {}
    grants = {**state.grants, **{key: _balances(state.grants.get(key, ()), placed) for key, placed in orders.items()}}
    # Includes the former versions: the counts are settled through them.
    types = await _types(env, (*state.subscriptions, *merged), grants)

    @cache
    def at(moment_ms: int) -> Mapping[str, Entitlement]:
        return resolve(state.subscriptions, env.cache.packages, types, state.grants, moment_ms)

    entitlements = resolve(merged, env.cache.packages, types, grants, state.now_ms)
    ended = without_effect(merged, env.cache.packages, state.now_ms)
    ended_tokens = {subscription.token for subscription in ended}
    disabled = state.meta.disabled if edit.disabled is None else edit.disabled
    change = UserChange(
        user_id=state.user_id,
        raw_meta=state.raw_meta,
        meta=state.meta._replace(disabled=disabled, revision=state.meta.revision + 1, as_of_ms=state.now_ms),
        profile=edit.profile and edit.profile.new,
        old_profile=edit.profile and edit.profile.old,
        subscriptions=tuple(item for item in edit.subscriptions if item.token not in ended_tokens),
        ended=ended,
        ended_until_ms=max(state.ended_until_ms, *(end_ms(subscription) or 0 for subscription in ended), 0),
        event=edit.event,
        entitlements={key: value for key, value in entitlements.items() if state.entitlements.get(key) != value},
        removed_entitlements=sorted(state.entitlements.keys() - entitlements.keys()),
        counters=state.counters,
        carry_overs=_carry_overs(state, at, entitlements),
        grants=(edit.grant,) if edit.grant else (),
        grant_orders=orders,
        audit=entry_of(state, edit),
    )
    return change, entitlements


def _carry_overs(
    state: UserState, at: Callable[[int], Mapping[str, Entitlement]], new: Mapping[str, Entitlement]
) -> list[CarryOver]:
    """Return the carry-overs of a user's counts for the change to new entitlements."""
    old, counters, now_ms = state.entitlements, state.counters, state.now_ms
    if not state.was_computed_ahead():
        return [*carry_over_ahead(old, counters, now_ms), *carry_over(old, at, new, counters, now_ms)]
    # The old entitlements come from a clock too far ahead: a count continues under the new one, or is closed.
    closed = [carry_over_one(feature_id, old[feature_id], None, now_ms) for feature_id in counters.keys() - new.keys()]
    return [*carry_over_ahead(new, counters, now_ms), *chain.from_iterable(closed)]


def _merged(state: UserState, changed: Iterable[Subscription]) -> tuple[Subscription, ...]:
    """Return a user's subscriptions with some new or changed."""
    return tuple({subscription.token: subscription for subscription in (*state.subscriptions, *changed)}.values())


async def _types(
    env: Environment, subscriptions: Iterable[Subscription], granted: Iterable[str]
) -> dict[str, FeatureType | int]:
    """Load the packages of some subscriptions; return the types of their features and of the granted ones."""
    versions = set(map(_version, subscriptions))
    await env.cache.load_packages(versions)
    listed = {entry.feature_id for version in versions for entry in env.cache.packages[version].features}
    return {feature_id: await _type(env, feature_id) for feature_id in listed.union(granted)}


async def _type(env: Environment, feature_id: str) -> FeatureType | int:
    """Return the type of a feature of a package or a grant. Features are never deleted, so it must exist."""
    feature = await env.cache.find_feature(feature_id)
    if feature is None:
        raise StoreUnavailableError(f"the feature {feature_id!r} of a package or a grant is not in the store")
    return feature.type


def _balances(old: tuple[GrantBalance, ...], placed: tuple[PlacedGrant, ...]) -> tuple[GrantBalance, ...]:
    """Return the balances in a new order: an existing grant keeps its balance, a new one starts with its amount."""
    return tuple(
        GrantBalance(
            effective_at_ms=grant.effective_at_ms,
            end_ms=grant.end_ms,
            left=old[place - 1].left if place else grant.amount,
            drawn=old[place - 1].drawn if place else 0,
        )
        for place, grant in placed
    )
