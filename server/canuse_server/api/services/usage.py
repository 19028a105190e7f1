"""UsageService: usage by period, and usage events."""

from canuse.v1 import usage_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import timestamp
from canuse_server.api.environment import Environment
from canuse_server.api.errors import feature_not_found, not_consumable
from canuse_server.api.hotpath.can_use import counts
from canuse_server.api.services.usage_totals import UsageTotalMethods
from canuse_server.api.tokens import subscription as subscription_tokens
from canuse_server.api.users.leases import LeaseListMethods
from canuse_server.api.users.state import MAX_REPAIRS, feature_state_of, read_with_grants
from canuse_server.api.users.usage import past_periods
from canuse_server.api.validation import Violations
from canuse_server.domain.decision import FeatureState
from canuse_server.domain.entitlements import winning_subscription
from canuse_server.domain.model import FeatureType, Grant
from canuse_server.domain.past_periods import PastPeriod
from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.repositories.users.state import UserState


class UsageServicer(UsageTotalMethods, LeaseListMethods):
    """UsageService; ListUsageEvents is in `usage_events.py`, ListUsageTotals in `usage_totals.py`, ListLeases in
    `users/leases.py`."""

    async def show_usage(self, request: pb.ShowUsageRequest, context: CallContext) -> pb.ShowUsageResponse:
        """Show the current period of one feature and past ones."""
        user_id, feature_id = request.user_id, request.feature_id
        violations = Violations()
        violations.id("user_id", user_id)
        violations.id("feature_id", feature_id)
        violations.check()
        feature = await context.env.cache.find_feature(feature_id)
        if feature is None:
            raise feature_not_found(feature_id)
        if feature.type != FeatureType.CONSUMABLE:
            raise not_consumable(feature_id)
        state, grants, stored = await _read(context.env, user_id, feature_id)
        await context.env.cache.load_packages((item.package_id, item.package_version) for item in state.subscriptions)
        past = past_periods(context.env, state, feature_id, stored)
        feature_state = feature_state_of(state, feature_id, archived=feature.archived)
        return pb.ShowUsageResponse(
            current=counts(feature_state),
            sources=_sources(context.env, state, feature_id, feature_state, grants.get(feature_id, [])),
            past=[_message(period) for period in reversed(past)],
        )


async def _read(
    env: Environment, user_id: str, feature_id: str
) -> tuple[UserState, dict[str, list[Grant]], list[PastPeriod]]:
    """Return a user, the grants, and the stored past periods of a feature, as they were at one moment."""
    for _ in range(MAX_REPAIRS):
        before, grants = await read_with_grants(env, user_id)
        (found,) = await env.users.usage([user_id], feature_id)
        # Otherwise the user was changed or deleted between the reads, or a period has ended.
        if found is not None and found[0].raw_meta == before.raw_meta and found[0].is_current():
            state, past = found
            return state, grants, past.get(feature_id, [])
    raise StoreUnavailableError("a user changed repeatedly")


def _sources(
    env: Environment, state: UserState, feature_id: str, feature_state: FeatureState, grants: list[Grant]
) -> list[pb.SourceBalance]:
    """Return the winning package and the grants, with the amount left in each."""
    sources = []
    entitlement = feature_state.entitlement
    winner = winning_subscription(state.subscriptions, env.cache.packages, feature_id, state.now_ms)
    if entitlement is not None and winner is not None:
        _, used, drawn = feature_state.current()
        package_left = None if entitlement.limit is None else max(0, entitlement.limit - max(0, used - drawn))
        owner = subscription_tokens.encode(state.user_id, winner.token)
        sources.append(pb.SourceBalance(subscription_id=owner, amount=entitlement.limit, left=package_left))
    for grant, balance in zip(grants, feature_state.grants, strict=True):
        left = balance.left if balance.is_open(state.now_ms) else 0
        sources.append(pb.SourceBalance(grant_id=grant.id, amount=grant.amount, left=left))
    return sources


def _message(past: PastPeriod) -> pb.PastPeriod:
    end_ms = past.period.end_ms
    return pb.PastPeriod(
        period_start=timestamp(past.period.start_ms),
        period_end=None if end_ms is None else timestamp(end_ms),
        used=past.used,
        budget=past.budget,
        drawn_from_grants=past.drawn,
        overage=past.overage(),
        summed=past.summed_overage is not None,
    )
