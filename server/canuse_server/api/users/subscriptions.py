"""What holds for every call that creates or changes subscriptions of a user."""

from collections.abc import Collection, Iterable
from typing import Final

from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.api.tokens.subscription import encode
from canuse_server.api.users.changes import new_token
from canuse_server.domain.model import Subscription
from canuse_server.domain.subscriptions import has_ended, overlapping_bases
from canuse_server.store.repositories.users.state import UserState

SUBSCRIPTIONS_AT_MOST: Final = 100
"""Maximum number of subscriptions of a user that have not ended: each change of the user resolves all of them."""


async def free_token(env: Environment, state: UserState, taken: Iterable[str] = ()) -> str:
    """Return the token of a new subscription of a user; `taken` are those of others that are created with it."""
    used = {*taken, *(item.token for item in state.subscriptions)}
    token = new_token(used)
    while await env.users.ended_subscription(state.user_id, token):
        token = new_token(used)
    return token


async def refuse_too_much(env: Environment, state: UserState, changed: Iterable[Subscription]) -> None:
    """Raise ApiError for a change that gives a user two base packages at a time, or too many subscriptions."""
    merged = {item.token: item for item in (*state.subscriptions, *changed)}
    # Another server may have created some of them.
    await env.cache.load_packages((item.package_id, item.package_version) for item in merged.values())
    pair = overlapping_bases(merged.values(), env.cache.packages, state.now_ms)
    if pair is not None:
        raise _second_base(state, pair, {item.token for item in changed})
    before, after = (_count_open(items, state.now_ms) for items in (state.subscriptions, merged.values()))
    if after > max(before, SUBSCRIPTIONS_AT_MOST):
        text = f"user {state.user_id!r} would have {after} subscriptions that have not ended"
        ids = {"user_id": state.user_id}
        raise ApiError(ErrorReason.TOO_MANY_SUBSCRIPTIONS, f"{text}; the maximum is {SUBSCRIPTIONS_AT_MOST}", ids)


def _second_base(state: UserState, pair: tuple[Subscription, Subscription], changed: Collection[str]) -> ApiError:
    """Return the error for two base packages at a time. It names the subscription that is in the way."""
    text = "the user would have two base packages at the same time"
    ids = {"user_id": state.user_id}
    kept = next((item for item in pair if item.token not in changed), None)
    if kept is None:
        packages = " and ".join(repr(item.package_id) for item in pair)
        return ApiError(ErrorReason.SECOND_BASE_PACKAGE, f"{text}: {packages}; subscribe to one of them", ids)
    ids["subscription_id"] = encode(state.user_id, kept.token)
    text = f"{text}: subscription {ids['subscription_id']!r} to package {kept.package_id!r} is in the way"
    return ApiError(ErrorReason.SECOND_BASE_PACKAGE, f"{text}; ChangePackage replaces it in one step", ids)


def _count_open(subscriptions: Iterable[Subscription], now_ms: int) -> int:
    return sum(not has_ended(item, now_ms) for item in subscriptions)
