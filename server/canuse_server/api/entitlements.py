"""EntitlementService: checks, records, and what a user may use."""

from collections.abc import Mapping
from typing import Final

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api import pages, subscription_ids
from canuse_server.api.can_use import counts
from canuse_server.api.errors import feature_not_found
from canuse_server.api.hot import FeatureUnknownError, HotMethod, reason_message
from canuse_server.api.user_changes import create_default_user, renew
from canuse_server.api.validation import page_size, require_id
from canuse_server.api.world import World
from canuse_server.domain.decision import Standing, TotalOutOfRangeError, decide
from canuse_server.domain.model import Grant, Reason
from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.usage import StaleError, UserMissingError
from canuse_server.store.users import UserState

DETOURS_AT_MOST: Final = 40
"""How many detours one call takes. A few are usual: for features not in memory, of which it names 32 at most, then to
renew a stale entitlement."""


async def answer(method: HotMethod, payload: bytes, world: World) -> bytes:
    """Answer a call of a hot method, detours and all. The batch lane leaves to this what it can't answer itself.

    Raises:
        ApiError: the call is no good, or the user or feature unknown.
        StoreError: the store is away.
    """
    user_id = ""
    for _ in range(DETOURS_AT_MOST):
        try:
            plan = method.plan(payload, world)
            user_id = plan.user_id
            reply, now_ms = await world.store.travel(plan.trip)
            return method.conclude(plan, reply, now_ms)
        except FeatureUnknownError as unknown:
            if await world.cache.find_feature(unknown.feature_id) is None:
                raise feature_not_found(unknown.feature_id) from None
        except UserMissingError:
            await create_default_user(world, user_id)
        except StaleError:
            await renew(world, user_id)
    raise StoreUnavailableError("what a call needs went stale again and again")


async def read_current(world: World, user_id: str) -> UserState:
    """Return a user whose entitlements are up to date; raise ApiError if there is no such user."""
    for _ in range(DETOURS_AT_MOST):
        state = await world.users.read(user_id)
        if state is None:
            await create_default_user(world, user_id)
            continue
        ends = (entitlement.valid_until_ms for entitlement in state.entitlements.values())
        if all(end is None or end > state.now_ms for end in ends):
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
        if (await world.users.read(user_id) or state).meta.revision == state.meta.revision:
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
    )


class EntitlementServicer:
    """All but the hot methods, which `answer` serves."""

    async def list_entitlements(self, request: pb.ListEntitlementsRequest, world: World) -> pb.ListEntitlementsResponse:
        """List what a user may use, by feature id."""
        size, (_, last) = page_size(request.page_size), pages.decode(request.page_token)
        state, grants = await read_with_grants(world, require_id("user_id", request.user_id))
        versions = [(item.package_id, item.package_version) for item in state.subscriptions]
        await world.cache.load_packages(versions)
        sources = _sources(world, state)
        ids = sorted(feature_id for feature_id in state.entitlements if feature_id > last)
        return pb.ListEntitlementsResponse(
            entitlements=[
                await self._entitlement(world, state, feature_id, sources, grants.get(feature_id, []))
                for feature_id in ids[:size]
            ],
            next_page_token=pages.encode(ids[size - 1]) if len(ids) > size else "",
        )

    async def _entitlement(
        self, world: World, state: UserState, feature_id: str, sources: Mapping[str, list[str]], grants: list[Grant]
    ) -> pb.Entitlement:
        feature = await world.cache.find_feature(feature_id)
        standing = standing_of(state, feature_id, archived=feature is not None and feature.archived)
        try:
            reason = decide(standing, 1)
        except TotalOutOfRangeError:
            reason = Reason.BUDGET_EXCEEDED  # Every unit that can be counted has been used.
        return pb.Entitlement(
            feature_id=feature_id,
            access=reason.access,
            reason=reason_message(reason),
            consumption=counts(standing),
            subscription_ids=sources.get(feature_id, []),
            grant_ids=[grant.id for grant in grants],
        )


def _sources(world: World, state: UserState) -> dict[str, list[str]]:
    """Return the ids of the subscriptions that list a feature, by feature."""
    sources: dict[str, list[str]] = {}
    for item in state.subscriptions:
        subscription_id = subscription_ids.encode(state.user_id, item.token)
        for entry in world.cache.packages[item.package_id, item.package_version].features:
            sources.setdefault(entry.feature_id, []).append(subscription_id)
    return sources
