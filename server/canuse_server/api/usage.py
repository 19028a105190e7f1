"""UsageService: what has been used."""

from canuse.v1 import usage_service_pb2 as pb
from canuse_server.api.convert import timestamp
from canuse_server.api.entitlements import read_current, standing_of
from canuse_server.api.errors import feature_not_found, not_consumable
from canuse_server.api.hot import counts
from canuse_server.api.validation import Violations
from canuse_server.api.world import World
from canuse_server.domain.model import FeatureType
from canuse_server.store.layout import PastPeriod
from canuse_server.store.users import UserState


class UsageServicer:
    """UsageService."""

    async def show_usage(self, request: pb.ShowUsageRequest, world: World) -> pb.ShowUsageResponse:
        """Show the current period of one feature and past ones."""
        user_id, feature_id = request.user_id, request.feature_id
        violations = Violations()
        violations.id("user_id", user_id)
        violations.id("feature_id", feature_id)
        violations.check()
        feature = await world.cache.find_feature(feature_id)
        if feature is None:
            raise feature_not_found(feature_id)
        if feature.type != FeatureType.CONSUMABLE:
            raise not_consumable(feature_id)
        state = await read_current(world, user_id)
        past = await world.users.past_periods(user_id, feature_id)
        rolled = _rolled(state, feature_id)
        # It may have been put away between the two reads.
        if rolled and rolled.period not in [known.period for known in past]:
            past.insert(0, rolled)
        return pb.ShowUsageResponse(
            current=counts(standing_of(state, feature_id, archived=feature.archived)),
            past=[_message(period) for period in past[: world.retention.past_periods_kept]],
        )


def _rolled(state: UserState, feature_id: str) -> PastPeriod | None:
    """Return the period that the counter still holds although it is over: it is put away at the next use."""
    entitlement, counter = state.entitlements.get(feature_id), state.counters.get(feature_id)
    if entitlement is None or counter is None or not counter.used:
        return None
    if counter.period_start_ms >= entitlement.period_at(state.now_ms).start_ms:
        return None
    return PastPeriod(entitlement.past_period(counter.period_start_ms), counter.used, entitlement.limit)


def _message(past: PastPeriod) -> pb.PastPeriod:
    end_ms = past.period.end_ms
    return pb.PastPeriod(
        period_start=timestamp(past.period.start_ms),
        period_end=None if end_ms is None else timestamp(end_ms),
        used=past.used,
        budget=past.budget,
    )
