"""EntitlementService: listing entitlements."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from canuse.v1 import entitlement_service_pb2 as pb
from canuse.v1 import reason_pb2
from canuse_server.api.context import CallContext
from canuse_server.api.environment import Environment
from canuse_server.api.hotpath.can_use import counts, fill_retry_after
from canuse_server.api.hotpath.method import reason_message
from canuse_server.api.tokens import page as page_tokens
from canuse_server.api.tokens import subscription as subscription_tokens
from canuse_server.api.users.state import feature_state_of, read_with_grants
from canuse_server.api.validation import page_size, require_id
from canuse_server.domain.decision import FeatureState, TotalOutOfRangeError, decide
from canuse_server.domain.model import Grant, Reason
from canuse_server.domain.subscriptions import has_ended
from canuse_server.runtime.fairness import yield_if_due
from canuse_server.store.repositories.users.state import UserState


class EntitlementServicer:
    """EntitlementService without the hot methods and the batches, which are in `api/hotpath`."""

    async def list_entitlements(
        self, request: pb.ListEntitlementsRequest, context: CallContext
    ) -> pb.ListEntitlementsResponse:
        """List the entitlements of a user by feature id."""
        size, (_, last) = page_size(request.page_size), page_tokens.decode(request)
        state, grants = await read_with_grants(context.env, require_id("user_id", request.user_id))
        versions = [(item.package_id, item.package_version) for item in state.subscriptions]
        await context.env.cache.load_packages(versions)
        found = {feature_id for feature_id in state.entitlements if feature_id > last}
        packages: Mapping[str, list[str]] = {}
        if request.include_locked:
            found |= await _locked(context.env, found, last, size + 1)
            packages = await context.env.cache.packages_by_feature()
        ids = sorted(found)[: size + 1]
        archived = {feature_id: await _is_archived(context.env, feature_id) for feature_id in ids}
        sources = await _sources(context.env, state, frozenset(ids))

        def make(feature_id: str) -> pb.Entitlement:
            feature_state = feature_state_of(state, feature_id, archived=archived[feature_id])
            message = _entitlement(feature_id, feature_state, sources.get(feature_id, []), grants.get(feature_id, []))
            if feature_state.entitlement is None or message.reason == reason_pb2.REASON_SUBSCRIPTION_INACTIVE:
                message.package_ids.extend(packages.get(feature_id, ()))
            return message

        entitlements, token = await page_tokens.fill(request, ids, make, lambda feature_id: (feature_id, 0))
        return pb.ListEntitlementsResponse(entitlements=entitlements, next_page_token=token)


def _entitlement(
    feature_id: str, feature_state: FeatureState, sources: list[str], grants: list[Grant]
) -> pb.Entitlement:
    try:
        reason = decide(feature_state, 1)
    except TotalOutOfRangeError:
        reason = Reason.BUDGET_EXCEEDED  # All units that canuse can count are used.
    message = pb.Entitlement(
        feature_id=feature_id,
        access=reason.access,
        reason=reason_message(reason),
        consumption=counts(feature_state),
        subscription_ids=sources,
        grant_ids=[grant.id for grant in grants],
    )
    if not reason.access:
        fill_retry_after(message, feature_state, 1)
    return message


async def _locked(env: Environment, entitled: AbstractSet[str], after: str, size: int) -> set[str]:
    """Return at least the next `size` features after an id that are not archived and not among `entitled`, if any."""
    found: set[str] = set()
    while len(found) < size and (ids := await env.catalog.feature_ids(after, size)):
        after = ids[-1].decode()
        for feature_id in (item.decode() for item in ids):
            if feature_id not in entitled and not await _is_archived(env, feature_id):
                found.add(feature_id)
    return found


async def _is_archived(env: Environment, feature_id: str) -> bool:
    await yield_if_due()
    feature = await env.cache.find_feature(feature_id)
    return feature is not None and feature.archived


async def _sources(env: Environment, state: UserState, feature_ids: frozenset[str]) -> dict[str, list[str]]:
    """Return the ids of the subscriptions that have not ended by the features that they list."""
    sources: dict[str, list[str]] = {}
    for item in state.subscriptions:
        if has_ended(item, state.now_ms):
            continue
        subscription_id = subscription_tokens.encode(state.user_id, item.token)
        entries = env.cache.packages[item.package_id, item.package_version].features
        for feature_id in feature_ids.intersection(entry.feature_id for entry in entries):
            sources.setdefault(feature_id, []).append(subscription_id)
        await yield_if_due()
    return sources
