"""EntitlementService: checks, records, and what a user may use."""

from collections.abc import Mapping

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api import pages, subscription_ids
from canuse_server.api.batches import BatchMethods
from canuse_server.api.can_use import counts
from canuse_server.api.hot import reason_message
from canuse_server.api.user_states import read_with_grants, standing_of
from canuse_server.api.validation import page_size, require_id
from canuse_server.api.world import World
from canuse_server.domain.decision import TotalOutOfRangeError, decide
from canuse_server.domain.model import Grant, Reason
from canuse_server.store.pacing import take_break
from canuse_server.store.users import UserState


class EntitlementServicer(BatchMethods):
    """EntitlementService; `answers.py` answers the hot methods, and the batches are in `batches.py`."""

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
        await take_break()
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
