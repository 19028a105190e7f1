"""CanUse: a check that reads, decides, and writes nothing."""

from canuse.v1 import entitlement_service_pb2 as pb
from canuse.v1.consumption_pb2 import Consumption
from canuse.v1.reason_pb2 import SOURCE_STORE
from canuse_server.api.convert import consumption, fill_consumption
from canuse_server.api.errors import total_out_of_range
from canuse_server.api.hot import PREFIX, ExplanationWantedError, Plan, known_feature, parse, reason_message
from canuse_server.api.validation import Violations, is_plain_id
from canuse_server.api.world import World
from canuse_server.domain.decision import Standing, TotalOutOfRangeError, decide
from canuse_server.domain.model import MAX_AMOUNT, FeatureType
from canuse_server.store import usage


class CanUse:
    """See HotMethod."""

    path = PREFIX + "CanUse"
    writes = False

    def plan(self, payload: bytes, world: World) -> Plan:
        """See HotMethod."""
        request = parse(pb.CanUseRequest, payload)
        delta = request.delta if request.HasField("delta") else 1
        user_id, feature_id = request.user_id, request.feature_id
        if not (is_plain_id(user_id) and is_plain_id(feature_id) and 0 < delta <= MAX_AMOUNT):
            violations = Violations()
            violations.id("user_id", user_id)
            violations.id("feature_id", feature_id)
            known = world.cache.features.get(feature_id)
            if known is None or known.type != FeatureType.BINARY:
                violations.amount("delta", delta, 1)
            violations.check()
        feature = known_feature(world, feature_id)
        trip = usage.check_trip(world.keys, user_id, feature_id)
        plan = Plan(trip, user_id, (feature,), delta, repeatable=True)
        if request.explain:
            raise ExplanationWantedError(plan)
        return plan

    def conclude(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See HotMethod."""
        return respond(plan, usage.standing(reply, now_ms, archived=plan.features[0].archived)).SerializeToString()

    def holds_until_ms(self, reply: object, now_ms: int) -> int:
        """See HotMethod."""
        return usage.holds_until_ms(reply, now_ms)


def respond(plan: Plan, standing: Standing) -> pb.CanUseResponse:
    """Return the answer to a check, by how the user stands; raise ApiError where the total would be out of range."""
    try:
        reason = decide(standing, plan.delta)
    except TotalOutOfRangeError:
        raise total_out_of_range(plan.user_id, [plan.features[0].id]) from None
    response = pb.CanUseResponse(access=reason.access, reason=reason_message(reason), source=SOURCE_STORE)
    entitlement = standing.entitlement
    if entitlement is not None and entitlement.consumable:
        period, used, _ = standing.current()
        fill_consumption(response.consumption, entitlement, period, used, standing.budget(), standing.reserved())
    return response


def counts(standing: Standing) -> Consumption | None:
    """Return the counts that a check was based on, or None where there is nothing to count."""
    entitlement = standing.entitlement
    if entitlement is None or not entitlement.consumable:
        return None
    period, used, _ = standing.current()
    return consumption(entitlement, period, used, standing.budget(), standing.reserved())
