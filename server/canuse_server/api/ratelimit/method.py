"""ShouldRateLimit of Envoy's rate limit service: uses all features that a request names, or none.

To Envoy, an error means that the service failed, and by default it then lets the request through. So input that Envoy's
callers control must not cause an error: an invalid id is treated as an unknown one, and a use that cannot be recorded
is refused.
"""

from collections.abc import Mapping
from typing import Final

import structlog

from canuse.v1.entitlement_service_pb2 import USAGE_ACTION_ADD
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.api.hotpath import wire
from canuse_server.api.hotpath.executor import answer
from canuse_server.api.hotpath.method import Plan, StoreNotNeededError, known_feature
from canuse_server.api.hotpath.record import Writing, plan_one
from canuse_server.api.methods import method_at
from canuse_server.api.ratelimit.decoding import parse_request
from canuse_server.api.ratelimit.requests import (
    FIRST,
    LIMITS_NOTHING,
    NOT_CHECKED,
    REFUSED,
    UNKNOWN,
    ParsedRequest,
    charge_indexes,
    environment_of,
    read,
)
from canuse_server.api.ratelimit.responses import (
    refused_response,
    response_to,
    response_to_one,
    response_without_counts,
    user_unknown,
)
from canuse_server.api.validation import is_plain_id
from canuse_server.domain.model import MAX_AMOUNT, Feature, FeatureType
from canuse_server.envoy import rate_limit_service_pb2 as pb
from canuse_server.runtime.throttle import Throttle
from canuse_server.store.repositories import usage_commands
from canuse_server.store.repositories.usage_commands import Charge, RecordOutOfRangeError, Use

log = structlog.get_logger(__name__)

NO_USER: Final = frozenset(
    {ErrorReason.USER_NOT_FOUND, ErrorReason.PACKAGE_NOT_FOUND, ErrorReason.PACKAGE_NOT_PUBLISHED}
)
"""Errors after which the user is unknown, including those of a default package that cannot be given."""
# Both log a mistake in the configuration of Envoy or canuse, which every request repeats.
_REFUSED_REQUESTS: Final = Throttle(1.0)
_NO_DEFAULT_PACKAGE: Final = Throttle(1.0)


class ShouldRateLimit(Writing):
    """See HotMethod. `missing` are features that do not exist."""

    path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
    writes = method_at(path).writes

    def __init__(self, missing: frozenset[str] = frozenset()) -> None:
        self._missing = missing

    def plan(self, payload: bytes, env: Environment) -> Plan:
        """See HotMethod."""
        request = parse_request(payload)
        env = environment_of(request.domain, env)
        if plan := _quick_plan(request, env):
            return plan
        parsed = read(request, env.rate_limits)
        user_id, hits, facts = parsed.user_id, parsed.hits, parsed.facts
        known = env.cache.features
        clear = parsed.is_clear and all(map(known.__contains__, hits))
        where = charge_indexes(parsed, {} if clear else self._unrecorded(parsed, env))
        if len(hits) == 1:
            [(feature_id, amount)] = hits.items()
            feature = known[feature_id]
            delta = _delta(feature, amount)
            mode = usage_commands.ADD if delta and feature_id in facts else usage_commands.USE
            return plan_one(env, mode, user_id, feature, delta, USAGE_ACTION_ADD, where)
        charges = []
        for feature_id, amount in hits.items():
            feature = known[feature_id]
            delta = _delta(feature, amount)
            entry = wire.ledger_entry(user_id, feature_id, delta, USAGE_ACTION_ADD)
            is_fact = delta != 0 and feature_id in facts
            charges.append(Charge(feature_id, delta, feature.archived, entry, is_fact))
        use = Use(usage_commands.USE, user_id, tuple(charges))
        command = usage_commands.record_command(env.keys, use, env.retention, env.store.manual_now)
        features = tuple([known[feature_id] for feature_id in hits])
        return Plan(command, user_id, features, charges[0].delta, charge_indexes=where)

    def _unrecorded(self, parsed: ParsedRequest, env: Environment) -> Mapping[str, int]:
        """Remove the hits that are not recorded, and return their charge indexes.

        If a descriptor is refused, only facts are recorded.

        Raises:
            StoreNotNeededError: no hits remain.
            FeatureUnknownError: a feature is not in memory.
        """
        hits = parsed.hits
        if parsed.problem:
            if _REFUSED_REQUESTS.try_acquire() is not None:
                log.warning("answered OVER_LIMIT to Envoy: the request cannot be processed", cause=parsed.problem)
            indexes = [LIMITS_NOTHING if name is None else REFUSED for name in parsed.features]
            raise StoreNotNeededError(refused_response(indexes))
        unknown = REFUSED if env.rate_limits.deny_unknown else LIMITS_NOTHING
        others = {name: unknown for name in parsed.features if name in self._missing or name == UNKNOWN}
        too_large = [name for name, amount in hits.items() if abs(amount) > MAX_AMOUNT and name not in others]
        others |= {name: REFUSED for name in too_large if _delta(known_feature(env, name), hits[name])}
        if REFUSED in others.values():
            others |= {name: NOT_CHECKED for name in hits if name not in parsed.facts and name not in others}
        for name in others:
            hits.pop(name, None)
        if not hits:
            raise StoreNotNeededError(response_without_counts(charge_indexes(parsed, others)))
        for feature_id in hits:
            known_feature(env, feature_id)
        return others

    def respond(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See HotMethod."""
        try:
            if len(plan.charge_indexes) == 1:
                return response_to_one(usage_commands.single(reply)[0])
            return response_to(plan.charge_indexes, usage_commands.outcome(reply)[0])
        except RecordOutOfRangeError:
            return refused_response(plan.charge_indexes)


def _delta(feature: Feature, amount: int) -> int:
    """Return the delta of a charge. For a binary feature it is 0, which only checks."""
    return amount if feature.type == FeatureType.CONSUMABLE else 0


def _quick_plan(request: pb.RateLimitRequest, env: Environment) -> Plan | None:
    """Return the plan for a request of one use, the usual case; None: it needs the general code."""
    if len(request.descriptors) != 1:
        return None
    descriptor = request.descriptors[0]
    if len(descriptor.entries) != 2 or descriptor.is_negative_hits:
        return None
    hits = descriptor.hits_addend.value if descriptor.HasField("hits_addend") else request.hits_addend or 1
    user, used = descriptor.entries
    rules = env.rate_limits
    if user.key != rules.user_key:
        user, used = used, user
    if user.key != rules.user_key or used.key != rules.feature_key:
        return None
    user_id, feature = user.value, env.cache.features.get(used.value)
    if feature is None or feature.type != FeatureType.CONSUMABLE or not is_plain_id(user_id):
        return None
    if hits > MAX_AMOUNT:
        return None
    return plan_one(env, usage_commands.USE, user_id, feature, hits, USAGE_ACTION_ADD, FIRST)


async def should_rate_limit(payload: bytes, env: Environment) -> bytes:
    """Answer a call on the event loop, with repairs; unknown users and features are answered as configured.

    Raises:
        ApiError: the request is invalid.
        StoreError: the store is unavailable.
    """
    missing: frozenset[str] = frozenset()
    try:
        env = environment_of(parse_request(payload).domain, env)
        while True:
            try:
                return await answer(ShouldRateLimit(missing), payload, env)
            except ApiError as error:
                if error.reason is not ErrorReason.FEATURE_NOT_FOUND:
                    raise
                missing |= {error.metadata["feature_id"]}
    except StoreNotNeededError as error:
        return error.answer
    except ApiError as error:
        if error.reason not in NO_USER:
            raise
        _note_default_package(error)
        parsed = read(parse_request(payload), env.rate_limits)
        return user_unknown(parsed, deny=env.rate_limits.deny_unknown)


def _note_default_package(error: ApiError) -> None:
    """Log why unknown users do not get the configured default package."""
    if error.reason is not ErrorReason.USER_NOT_FOUND and _NO_DEFAULT_PACKAGE.try_acquire() is not None:
        log.warning("Envoy asked about an unknown user, and the default package is not available", cause=error.message)
