"""ShouldRateLimit, of Envoy's rate limit service: the features that a request names are used, all of them or none.

To Envoy an error means that the service failed, and unless it is told otherwise it then lets the request through. So
what Envoy's own callers can send must not lead to one: an id that can't be is answered like one that is not known.
"""

from canuse.v1.entitlement_service_pb2 import USAGE_ACTION_ADD
from canuse_server.api import wire
from canuse_server.api.answers import answer
from canuse_server.api.errors import ApiError, ErrorReason, total_out_of_range
from canuse_server.api.hot import AnsweredError, Plan, known_feature, parse
from canuse_server.api.rate_limit_answers import all_ok, refused, response_to, response_to_one, user_unknown
from canuse_server.api.rate_limit_requests import FIRST, Asked, places, read, world_of
from canuse_server.api.uses import Writing, plan_one
from canuse_server.api.validation import id_problem, is_plain_id
from canuse_server.api.world import World
from canuse_server.domain.model import FeatureType
from canuse_server.envoy import rate_limit_service_pb2 as pb
from canuse_server.store import usage
from canuse_server.store.usage import Charge, RecordOutOfRangeError, Use


class ShouldRateLimit(Writing):
    """See HotMethod. `missing` are features that are known not to be there."""

    path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

    def __init__(self, missing: frozenset[str] = frozenset()) -> None:
        self._missing = missing

    def plan(self, payload: bytes, world: World) -> Plan:
        """See HotMethod."""
        request = parse(pb.RateLimitRequest, payload)
        world = world_of(request.domain, world)
        if plan := _quick_plan(request, world):
            return plan
        asked = read(request, world.rate_limits)
        user_id, hits, _ = asked
        known = world.cache.features
        if not (hits and is_plain_id(user_id) and all(map(known.__contains__, hits))):
            self._sort_out(asked, world)
        charges = []
        for feature_id, amount in hits.items():
            feature = known[feature_id]
            # What is on or off has nothing to count: a charge of 0 only asks.
            delta = amount if feature.type == FeatureType.CONSUMABLE else 0
            entry = wire.ledger_entry(user_id, feature_id, delta, USAGE_ACTION_ADD)
            charges.append(Charge(feature_id, delta, feature.archived, entry))
        use = Use(usage.USE, user_id, tuple(charges), "", b"")
        trip = usage.record_trip(world.keys, use, world.retention, world.store.manual_now)
        features = tuple([known[feature_id] for feature_id in hits])
        return Plan(trip, user_id, features, charges[0].delta, places=places(asked))

    def _sort_out(self, asked: Asked, world: World) -> None:
        """Take out of the hits what is let through unseen.

        Raises:
            AnsweredError: there is nothing to ask the store about.
            FeatureUnknownError: a feature may be in the store.
        """
        hits, deny = asked.hits, world.rate_limits.deny_unknown
        if hits and id_problem(asked.user_id):
            raise AnsweredError(user_unknown(asked, deny=deny))
        unknown = [feature_id for feature_id in hits if feature_id in self._missing or id_problem(feature_id)]
        if unknown and deny:
            raise AnsweredError(refused(asked, unknown))
        for feature_id in unknown:
            del hits[feature_id]
        if not hits:
            raise AnsweredError(all_ok(asked))
        for feature_id in hits:
            known_feature(world, feature_id)

    def conclude(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See HotMethod."""
        try:
            if len(plan.places) == 1:
                return response_to_one(usage.single(reply)[0])
            return response_to(plan.places, usage.outcome(reply)[0])
        except RecordOutOfRangeError:
            raise total_out_of_range(plan.user_id, [feature.id for feature in plan.features]) from None


def _quick_plan(request: pb.RateLimitRequest, world: World) -> Plan | None:
    """Return the plan for one use of a feature by a user, as most requests are; None: it takes a closer look."""
    if len(request.descriptors) != 1:
        return None
    descriptor = request.descriptors[0]
    if len(descriptor.entries) != 2 or descriptor.HasField("hits_addend") or descriptor.is_negative_hits:
        return None
    user, asked = descriptor.entries
    rules = world.rate_limits
    if user.key != rules.user_key:
        user, asked = asked, user
    if user.key != rules.user_key or asked.key != rules.feature_key:
        return None
    user_id, feature = user.value, world.cache.features.get(asked.value)
    if feature is None or feature.type != FeatureType.CONSUMABLE or not is_plain_id(user_id):
        return None
    return plan_one(world, usage.USE, user_id, feature, request.hits_addend or 1, USAGE_ACTION_ADD, FIRST)


async def should_rate_limit(payload: bytes, world: World) -> bytes:
    """Answer a call on the event loop, detours and all; what is not known is answered as it is set.

    Raises:
        ApiError: the request is no good.
        StoreError: the store is away.
    """
    world = world_of(parse(pb.RateLimitRequest, payload).domain, world)
    missing: frozenset[str] = frozenset()
    while True:
        try:
            return await answer(ShouldRateLimit(missing), payload, world)
        except ApiError as error:
            if error.reason is ErrorReason.USER_NOT_FOUND:
                asked = read(parse(pb.RateLimitRequest, payload), world.rate_limits)
                return user_unknown(asked, deny=world.rate_limits.deny_unknown)
            if error.reason is not ErrorReason.FEATURE_NOT_FOUND:
                raise
            missing |= {error.metadata["feature_id"]}
