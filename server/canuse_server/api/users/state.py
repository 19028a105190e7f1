"""A user as all that is worked out about one starts from: read at one moment, with entitlements that are up to date."""

from typing import Final

from canuse_server.api.environment import World
from canuse_server.api.users.changes import create_default_user, renew
from canuse_server.domain.decision import Standing
from canuse_server.domain.model import Grant
from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.repositories.users import UserState

DETOURS_AT_MOST: Final = 40
"""How many detours one call takes. A few are usual: for features not in memory, of which it names 32 at most, then for
due leases and to renew a stale entitlement."""


async def read_current(world: World, user_id: str) -> UserState:
    """Return a user whose entitlements and leases are up to date; raise ApiError if there is no such user."""
    for _ in range(DETOURS_AT_MOST):
        state = await world.users.read(user_id)
        if state is None:
            await create_default_user(world, user_id)
            continue
        if state.leases_are_due():
            await world.leases.sweep(user_id)
            continue
        if state.is_current():
            return state
        await renew(world, user_id)
    raise StoreUnavailableError("a user's entitlements went stale again and again")


async def read_with_grants(world: World, user_id: str) -> tuple[UserState, dict[str, list[Grant]]]:
    """Return a user whose entitlements are up to date with all grants by feature, in the order of their balances."""
    for _ in range(DETOURS_AT_MOST):
        state = await read_current(world, user_id)
        grants: dict[str, list[Grant]] = {}
        for grant in await world.users.grants(user_id) if state.grants else ():
            grants.setdefault(grant.feature_id, []).append(grant)
        again = await world.users.read(user_id)
        # Else the user was changed, or erased, between the two.
        if again is not None and again.raw_meta == state.raw_meta:
            return state, grants
    raise StoreUnavailableError("a user's grants changed again and again")


def standing_of(state: UserState, feature_id: str, *, archived: bool) -> Standing:
    """Return how a user stands with a feature."""
    return Standing(
        disabled=state.meta.disabled,
        archived=archived,
        entitlement=state.entitlements.get(feature_id),
        counter=state.counters.get(feature_id),
        now_ms=state.now_ms,
        grants=state.grants.get(feature_id, ()),
        reservation=state.reservations.get(feature_id),
    )
