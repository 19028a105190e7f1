"""A user as all that is worked out about one starts from: read at one moment, with entitlements that are up to date."""

from typing import Final

from canuse_server.api.environment import Environment
from canuse_server.api.users.changes import create_default_user, renew
from canuse_server.domain.decision import FeatureState
from canuse_server.domain.model import Grant
from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.repositories.users import UserState

MAX_REPAIRS: Final = 40
"""How many repairs one call may need. A few are usual: for features not in memory, of which it names 32 at most, then
for due leases and to renew a stale entitlement."""


async def read_current(env: Environment, user_id: str) -> UserState:
    """Return a user whose entitlements and leases are up to date; raise ApiError if there is no such user."""
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
    raise StoreUnavailableError("a user's entitlements went stale again and again")


async def read_with_grants(env: Environment, user_id: str) -> tuple[UserState, dict[str, list[Grant]]]:
    """Return a user whose entitlements are up to date with all grants by feature, in the order of their balances."""
    for _ in range(MAX_REPAIRS):
        state = await read_current(env, user_id)
        grants: dict[str, list[Grant]] = {}
        for grant in await env.users.grants(user_id) if state.grants else ():
            grants.setdefault(grant.feature_id, []).append(grant)
        again = await env.users.read(user_id)
        # Else the user was changed, or erased, between the two.
        if again is not None and again.raw_meta == state.raw_meta:
            return state, grants
    raise StoreUnavailableError("a user's grants changed again and again")


def feature_state_of(state: UserState, feature_id: str, *, archived: bool) -> FeatureState:
    """Return how a user stands with a feature."""
    return FeatureState(
        disabled=state.meta.disabled,
        archived=archived,
        entitlement=state.entitlements.get(feature_id),
        counter=state.counters.get(feature_id),
        now_ms=state.now_ms,
        grants=state.grants.get(feature_id, ()),
        reservation=state.reservations.get(feature_id),
    )
