"""CanUse: a check, which writes nothing."""

from typing import Final, cast

from canuse.v1 import catalog_service_pb2 as catalog
from canuse.v1 import entitlement_service_pb2 as pb
from canuse.v1.consumption_pb2 import Consumption
from canuse.v1.reason_pb2 import REASON_STORE_UNAVAILABLE, SOURCE_FALLBACK, SOURCE_LAST_KNOWN, SOURCE_STORE
from canuse_server.api.convert import consumption, duration, fill_consumption
from canuse_server.api.environment import Environment
from canuse_server.api.errors import total_out_of_range
from canuse_server.api.hotpath import wire
from canuse_server.api.hotpath.decisions import WITHOUT_STORE
from canuse_server.api.hotpath.method import PREFIX, ExplanationWantedError, Plan, known_feature, parse, reason_message
from canuse_server.api.last_known import KnownReply
from canuse_server.api.methods import method_at
from canuse_server.api.validation import Violations, is_plain_id
from canuse_server.domain.decision import FeatureState, TotalOutOfRangeError, access_denial, budget_reason, decide
from canuse_server.domain.model import MAX_AMOUNT, Feature, FeatureType, OnUnavailable, Reason
from canuse_server.domain.periods import CLOCKS_DIFFER_MS, rolled
from canuse_server.domain.retry import retry_at_ms
from canuse_server.store.codec.user_values import (
    ACTIVE,
    CONSUMABLE,
    DISABLED,
    LAST_RESET_PERIOD,
    OVERAGE,
    PREDICTABLE,
    as_of_ms,
    terms,
)
from canuse_server.store.repositories import usage_commands

_CONSUMPTION: Final = wire.tag(pb.CanUseResponse.CONSUMPTION_FIELD_NUMBER, wire.LENGTH_DELIMITED)
_FROM_STORE: Final = wire.tag(pb.CanUseResponse.SOURCE_FIELD_NUMBER, wire.VARINT) + wire.varint(SOURCE_STORE)
_BUDGET_EXCEEDED: Final = Reason.BUDGET_EXCEEDED
_ACCESS: Final = wire.tag(pb.CanUseResponse.ACCESS_FIELD_NUMBER, wire.VARINT)
_RETRY_AFTER: Final = wire.tag(pb.CanUseResponse.RETRY_AFTER_FIELD_NUMBER, wire.LENGTH_DELIMITED)
_ON_UNAVAILABLE: Final = wire.tag(pb.CanUseResponse.ON_UNAVAILABLE_FIELD_NUMBER, wire.VARINT)
_FROM_STORE_AND_SETTING: Final = {
    setting.value: _FROM_STORE + (_ON_UNAVAILABLE + wire.varint(setting) if setting != OnUnavailable.DENY else b"")
    for setting in OnUnavailable
}
"""The fields `source` and `on_unavailable`, by what a feature is set to."""


class CanUse:
    """See HotMethod."""

    path = PREFIX + "CanUse"
    writes = method_at(path).writes
    user_tag = wire.tag(pb.CanUseRequest.USER_ID_FIELD_NUMBER, wire.LENGTH_DELIMITED)[0]
    event_tag = 0

    def plan(self, payload: bytes, env: Environment) -> Plan:
        """See HotMethod."""
        request = parse(pb.CanUseRequest, payload)
        delta = request.delta if request.HasField("delta") else 1
        user_id, feature_id = request.user_id, request.feature_id
        if not (is_plain_id(user_id) and is_plain_id(feature_id) and 0 < delta <= MAX_AMOUNT):
            violations = Violations()
            violations.id("user_id", user_id)
            violations.id("feature_id", feature_id)
            known = env.cache.features.get(feature_id)
            if known is None or known.type != FeatureType.BINARY:
                violations.amount("delta", delta, 1)
            violations.check()
        feature = known_feature(env, feature_id)
        command = usage_commands.check_command(env.keys, user_id, feature_id)
        last_known = env.last_known if feature.on_unavailable is OnUnavailable.LAST_KNOWN else None
        # With `last_known` each reply is cached there, so the response must not come from the request cache.
        plan = Plan(command, user_id, (feature,), delta, cacheable=last_known is None, last_known=last_known)
        if request.explain:
            raise ExplanationWantedError(plan)
        return plan

    def respond(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See HotMethod."""
        feature = plan.features[0]
        answer = _fast_response(feature, plan.delta, cast("list[bytes | None]", reply), now_ms)
        if not answer:
            feature_state = usage_commands.feature_state(reply, now_ms, archived=feature.archived)
            answer = response_message(plan, feature_state).SerializeToString()
        if plan.last_known is not None:
            plan.last_known.note(plan.user_id, plan.features[0].id, reply, now_ms)
        return answer

    def without_store(self, plan: Plan) -> bytes | None:
        """See HotMethod."""
        return response_message_without_store(plan, recall(plan)).SerializeToString()

    def holds_until_ms(self, response: bytes, reply: object, now_ms: int) -> int:
        """See HotMethod."""
        if not response.startswith(_ACCESS) and _counts_down(response, reply):
            return 0
        return usage_commands.holds_until_ms(reply, now_ms)


def _counts_down(denial: bytes, reply: object) -> bool:
    """Whether a no may have `retry_after`, which is another one each time. In a fast response it comes first."""
    return denial.startswith(_RETRY_AFTER) or cast("list[bytes | None]", reply)[4] is not None


def _fast_response(feature: Feature, delta: int, reply: "list[bytes | None]", now_ms: int) -> bytes | None:
    """Return the response for a user without grants and leases, in a third of the time; None: use the general code."""
    meta, _, value, grants, reservation = reply
    if meta is None or value is None or grants is not None or reservation is not None:
        return None
    flags, reset_period, limit, first_ms, first_end_ms, valid_until_ms, counted, since_ms = terms(value)
    ahead_ms = now_ms + CLOCKS_DIFFER_MS
    is_stale = 0 <= valid_until_ms <= now_ms or first_ms > ahead_ms or as_of_ms(meta) > ahead_ms
    will_be_active = flags & PREDICTABLE and not flags & ACTIVE
    if is_stale or will_be_active or reset_period > LAST_RESET_PERIOD:
        return None
    reason = access_denial(bool(meta[0] & DISABLED), feature.archived, flags & ACTIVE != 0)
    source = _FROM_STORE_AND_SETTING.get(feature.on_unavailable, _FROM_STORE)
    if not flags & CONSUMABLE:
        return wire.ACCESS[reason or Reason.INCLUDED] + source
    start_ms, end_ms = rolled(first_ms, first_end_ms, reset_period, now_ms)
    used = counted if since_ms >= start_ms else 0
    if since_ms > start_ms:
        if 0 <= end_ms <= since_ms:
            return None
        start_ms, end_ms = rolled(first_ms, first_end_ms, reset_period, since_ms)
    total = used + delta
    if total > MAX_AMOUNT:
        return None
    reason = reason or budget_reason(None if limit < 0 else limit, total, flags & OVERAGE != 0)
    answer = wire.ACCESS[reason] + wire.consumption(_CONSUMPTION, flags, used, limit, 0, start_ms, end_ms) + source
    if reason is _BUDGET_EXCEEDED and delta <= limit and _is_known(flags, end_ms, valid_until_ms):
        answer = _RETRY_AFTER + wire.moment(end_ms - now_ms) + answer
    return answer


def _is_known(flags: int, end_ms: int, valid_until_ms: int) -> bool:
    """Whether the period ends, and the entitlement tells what applies then."""
    until_then = valid_until_ms < 0 or end_ms < valid_until_ms
    return end_ms >= 0 and (until_then or (end_ms == valid_until_ms and flags & PREDICTABLE != 0))


def response_message(plan: Plan, feature_state: FeatureState) -> pb.CanUseResponse:
    """Return the response to a check; raise ApiError if the total would be out of range."""
    try:
        reason = decide(feature_state, plan.delta)
    except TotalOutOfRangeError:
        raise total_out_of_range(plan.user_id, [plan.features[0].id]) from None
    response = pb.CanUseResponse(access=reason.access, reason=reason_message(reason), source=SOURCE_STORE)
    _fill_on_unavailable(response, plan.features[0])
    if not reason.access:
        fill_retry_after(response, feature_state, plan.delta)
    entitlement = feature_state.entitlement
    if entitlement is not None and entitlement.consumable:
        period, used, _ = feature_state.current()
        fill_consumption(
            response.consumption, entitlement, period, used, feature_state.budget(), feature_state.reserved()
        )
    return response


def recall(plan: Plan) -> KnownReply | None:
    """Return the last known reply for the user and the feature, if the feature uses it and there is one."""
    return None if plan.last_known is None else plan.last_known.recall(plan.user_id, plan.features[0].id)


def response_message_without_store(plan: Plan, known: KnownReply | None) -> pb.CanUseResponse:
    """Return the response to a check while the store is unavailable, according to the feature's `on_unavailable`.

    Raises:
        ApiError: the total would be out of range, according to the last known reply.
    """
    feature = plan.features[0]
    if known is not None:
        # As of the time of the reply: the age limit accepts that a period or a trial may have ended since.
        response = response_message(
            plan, usage_commands.feature_state(known.reply, known.now_ms, archived=feature.archived)
        )
        response.source = SOURCE_LAST_KNOWN
        WITHOUT_STORE.add("LAST_KNOWN")
        response.ClearField("retry_after")
    else:
        access = feature.on_unavailable is OnUnavailable.ALLOW and not feature.archived
        response = pb.CanUseResponse(access=access, source=SOURCE_FALLBACK)
        WITHOUT_STORE.add("FALLBACK")
        _fill_on_unavailable(response, feature)
    response.reason = REASON_STORE_UNAVAILABLE
    return response


def _fill_on_unavailable(response: pb.CanUseResponse, feature: Feature) -> None:
    """Say what the feature is set to while the store is unavailable, unless that is the default."""
    if feature.on_unavailable in (OnUnavailable.ALLOW, OnUnavailable.LAST_KNOWN):
        response.on_unavailable = cast("catalog.OnUnavailable.ValueType", int(feature.on_unavailable))


def fill_retry_after(message: pb.CanUseResponse | pb.Entitlement, feature_state: FeatureState, delta: int) -> None:
    """Say when a denied amount will be allowed, if that is known."""
    moment_ms = retry_at_ms((feature_state, delta))
    if moment_ms is not None:
        message.retry_after.CopyFrom(duration(moment_ms - feature_state.now_ms))


def counts(feature_state: FeatureState) -> Consumption | None:
    """Return the counts of a feature, or None if it has none."""
    entitlement = feature_state.entitlement
    if entitlement is None or not entitlement.consumable:
        return None
    period, used, _ = feature_state.current()
    return consumption(entitlement, period, used, feature_state.budget(), feature_state.reserved())
