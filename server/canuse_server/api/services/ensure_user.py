"""EnsureUser of UserService: a user that exists, is up to date, and has a package."""

from typing import NamedTuple

from canuse.v1 import user_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import subscription_message, user_message
from canuse_server.api.environment import Environment
from canuse_server.api.errors import package_not_found
from canuse_server.api.services.user_input import CHANGEABLE, changed_profile, check_user, profile_of
from canuse_server.api.users.changes import Edit, ProfileChange, change_user, published_package
from canuse_server.api.users.subscriptions import free_token, refuse_too_much
from canuse_server.api.validation import masked
from canuse_server.domain.model import Profile, Subscription, SubscriptionStatus
from canuse_server.domain.subscriptions import in_place_of
from canuse_server.store.codec.user_values import Meta
from canuse_server.store.errors import ConflictError
from canuse_server.store.repositories.users.state import UserState


class _Ensured(NamedTuple):
    """The user after the call, and what the call did."""

    meta: Meta
    profile: Profile
    created: bool
    updated: bool
    subscription: Subscription | None
    subscribed: bool


class EnsureUserMethods:
    """EnsureUser."""

    async def ensure_user(self, request: pb.EnsureUserRequest, context: CallContext) -> pb.EnsureUserResponse:
        """Create or change a user, and subscribe the user to a package if there is none."""
        user, env = request.user, context.env
        check_user(user, request.package_id)
        chosen = masked(request.update_mask, user, CHANGEABLE, may_be_none=True)

        async def edit(state: UserState) -> tuple[Edit | None, _Ensured]:
            old, profile, disabled, updated = Profile(), profile_of(user), user.disabled, False
            if state.exists:
                # Read for each attempt, so that a concurrent change of other fields is kept.
                old = await _profile(env, user.id)
                profile = changed_profile(old, user, chosen)
                disabled = user.disabled if "disabled" in chosen else state.meta.disabled
                updated = (profile, disabled) != (old, state.meta.disabled)
            subscription, is_new = await _subscription(env, state, request.package_id)
            meta = state.meta._replace(disabled=disabled)
            ensured = _Ensured(meta, profile, not state.exists, updated, subscription, is_new)
            if state.exists and not (updated or is_new):
                return None, ensured
            added = (subscription,) if subscription is not None and is_new else ()
            change = ProfileChange(old, profile) if updated or not state.exists else None
            return Edit(added, disabled, change), ensured

        changed = await change_user(env, user.id, edit, or_create=True)
        ensured, now_ms = changed.result, changed.state.now_ms
        return pb.EnsureUserResponse(
            user=user_message(user.id, ensured.meta, ensured.profile),
            created=ensured.created,
            updated=ensured.updated,
            subscribed=ensured.subscribed,
            subscription=None
            if ensured.subscription is None
            else subscription_message(user.id, ensured.subscription, now_ms),
        )


async def _profile(env: Environment, user_id: str) -> Profile:
    found = (await env.users.describe([user_id]))[0]
    if found is None:
        raise ConflictError  # The user was deleted since the state was read.
    return found[1]


async def _subscription(env: Environment, state: UserState, package_id: str) -> tuple[Subscription | None, bool]:
    """Return the subscription to a package or what the user has in its place, and whether it is new."""
    if not package_id:
        return None, False
    package = await env.catalog.package(package_id)
    if package is None:
        raise package_not_found(package_id)
    await env.cache.load_packages((item.package_id, item.package_version) for item in state.subscriptions)
    existing = in_place_of(package, state.subscriptions, env.cache.packages, state.now_ms)
    if existing is not None:
        return existing, False
    package = await published_package(env, package_id)
    token = await free_token(env, state)
    new = Subscription(token, package.id, package.version, SubscriptionStatus.ACTIVE, state.now_ms)
    await refuse_too_much(env, state, (new,))
    return new, True
