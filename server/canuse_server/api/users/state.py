"""Loads a consistent, up-to-date snapshot of a user."""

from typing import Final

from canuse_server.api.environment import Environment
from canuse_server.api.users.changes import create_default_user, renew
from canuse_server.domain.decision import FeatureState
from canuse_server.domain.model import Grant
from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.repositories.users.state import UserState

MAX_REPAIRS: Final = 40
"""Maximum number of repairs for one call. Few are usual: loading features (a call names at most 32), sweeping leases
and renewing entitlements."""


async def read_current(env: Environment, user_id: str) -> UserState:
    """Return a user with up-to-date entitlements and leases; raise ApiError if the user does not exist."""
    for _ in range(MAX_REPAIRS):
        state = await env.users.read(user_id)
        if state is None:
            await create_default_user(env, user_id)
            continue
        if state.leases_are_due():
            await env.leases.sweep(user_id)
            continue
        if state.is_current():
            return state
        await renew(env, user_id)
    raise StoreUnavailableError("the entitlements of a user became stale repeatedly")


async def read_with_grants(env: Environment, user_id: str) -> tuple[UserState, dict[str, list[Grant]]]:
    """Return an up-to-date user, and all grants by feature in the order of their balances."""
    for _ in range(MAX_REPAIRS):
        state = await read_current(env, user_id)
        grants: dict[str, list[Grant]] = {}
        for grant in await env.users.grants(user_id) if state.grants else ():
            grants.setdefault(grant.feature_id, []).append(grant)
        again = await env.users.read(user_id)
        # Otherwise the user was changed or deleted between the reads.
        if again is not None and again.raw_meta == state.raw_meta:
            return state, grants
    raise StoreUnavailableError("the grants of a user changed repeatedly")


def feature_state_of(state: UserState, feature_id: str, *, archived: bool) -> FeatureState:
    """Return the state of a feature of a user."""
    return FeatureState(
        disabled=state.meta.disabled,
        archived=archived,
        entitlement=state.entitlements.get(feature_id),
        counter=state.counters.get(feature_id),
        now_ms=state.now_ms,
        grants=state.grants.get(feature_id, ()),
        reservation=state.reservations.get(feature_id),
    )
