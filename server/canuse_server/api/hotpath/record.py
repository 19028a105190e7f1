"""CreateUsageEvent, UseFeature and UseFeatures: what counts."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from google.protobuf.duration_pb2 import Duration

from canuse.v1 import entitlement_service_pb2 as pb
from canuse.v1.consumption_pb2 import Consumption
from canuse_server.api.bounds import MAX_CHARGES
from canuse_server.api.convert import consumption, duration, fill_consumption
from canuse_server.api.environment import Environment
from canuse_server.api.errors import not_consumable
from canuse_server.api.hotpath import wire
from canuse_server.api.hotpath.event_ids import check_event_id, event_argument, is_plain_ttl
from canuse_server.api.hotpath.method import PREFIX, Plan, known_feature, parse, reason_message
from canuse_server.api.hotpath.refusals import read_reply
from canuse_server.api.hotpath.wire import LENGTH_DELIMITED, TRUE, VARINT, tag
from canuse_server.api.methods import method_at
from canuse_server.api.validation import Violations, is_plain_id, repeated
from canuse_server.domain.model import MAX_AMOUNT, Feature, FeatureType, Reason
from canuse_server.store.codec.event_ids import fingerprint
from canuse_server.store.codec.ledger_pb2 import LedgerEntry
from canuse_server.store.codec.user_values import ChargeOutcome, unpack_single
from canuse_server.store.repositories import usage_commands
from canuse_server.store.repositories.usage_commands import Charge, Use

_Event: Final = pb.CreateUsageEventResponse
_EVENT_RECORDED: Final = tag(_Event.RECORDED_FIELD_NUMBER, VARINT) + TRUE
_EVENT_REASON: Final = tag(_Event.REASON_FIELD_NUMBER, VARINT)
_EVENT_CONSUMPTION: Final = tag(_Event.CONSUMPTION_FIELD_NUMBER, LENGTH_DELIMITED)
_EVENT_APPLIED_DELTA: Final = tag(_Event.APPLIED_DELTA_FIELD_NUMBER, VARINT)
_EVENT_EVENT_ID: Final = tag(_Event.EVENT_ID_FIELD_NUMBER, LENGTH_DELIMITED)
_EVENT_REPLAYED: Final = tag(_Event.REPLAYED_FIELD_NUMBER, VARINT) + TRUE

_Use: Final = pb.UseFeatureResponse
_USE_CONSUMPTION: Final = tag(_Use.CONSUMPTION_FIELD_NUMBER, LENGTH_DELIMITED)
_USE_EVENT_ID: Final = tag(_Use.EVENT_ID_FIELD_NUMBER, LENGTH_DELIMITED)
_USE_REPLAYED: Final = tag(_Use.REPLAYED_FIELD_NUMBER, VARINT) + TRUE
_USE_RETRY_AFTER: Final = tag(_Use.RETRY_AFTER_FIELD_NUMBER, LENGTH_DELIMITED)


_FIRST_NO: Final = Reason.NOT_ENTITLED.value  # An enum is slower to compare.


class Writing:
    """What all methods share that write. See HotMethod."""

    user_tag = event_tag = 0

    def without_store(self, _plan: Plan) -> bytes | None:
        """See HotMethod: nothing can be recorded."""
        return None

    def holds_until_ms(self, _response: bytes, _reply: object, _now_ms: int) -> int:
        """See HotMethod: each call writes anew."""
        return 0


class CreateUsageEvent(Writing):
    """A fact: recorded past the budget too. See HotMethod."""

    path = PREFIX + "CreateUsageEvent"
    writes = method_at(path).writes
    user_tag = tag(pb.CreateUsageEventRequest.USER_ID_FIELD_NUMBER, LENGTH_DELIMITED)[0]
    event_tag = tag(pb.CreateUsageEventRequest.EVENT_ID_FIELD_NUMBER, LENGTH_DELIMITED)[0]

    def plan(self, payload: bytes, env: Environment) -> Plan:
        """See HotMethod."""
        request = parse(pb.CreateUsageEventRequest, payload)
        action = request.action or pb.USAGE_ACTION_ADD
        setting = action == pb.USAGE_ACTION_SET
        given = request.HasField("delta")
        delta = request.delta if given else 1
        quick = delta and action == pb.USAGE_ACTION_ADD
        if quick and (plan := _quick_plan(env, usage_commands.ADD, request, action, delta, -MAX_AMOUNT)):
            return plan
        violations = _violations(request)
        violations.amount("delta", delta, 0 if setting else -MAX_AMOUNT)
        if action not in (pb.USAGE_ACTION_ADD, pb.USAGE_ACTION_SET):
            violations.add("action", f"must be USAGE_ACTION_ADD or USAGE_ACTION_SET; {action} was sent")
        if setting and not given:
            violations.add("delta", "must be given with USAGE_ACTION_SET, 0 to 2^53 - 1; nothing was sent")
        if not setting and delta == 0:
            violations.add("delta", "must be -(2^53 - 1) to 2^53 - 1 but not 0; 0 was sent")
        violations.check()
        mode = usage_commands.SET if setting else usage_commands.ADD
        return _plan(env, mode, request, action, ((request.feature_id, delta),))

    def respond(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See HotMethod."""
        charge, replayed = read_reply(plan, usage_commands.single, reply, plan.delta)
        return b"".join(
            (
                _EVENT_RECORDED if charge.recorded else b"",
                _EVENT_REASON + wire.varint(charge.reason),
                wire.counts(_EVENT_CONSUMPTION, charge),
                _EVENT_APPLIED_DELTA + wire.int64(charge.applied_delta) if charge.applied_delta else b"",
                wire.text(_EVENT_EVENT_ID, plan.event_id.encode() or charge.ledger_id),
                _EVENT_REPLAYED if replayed else b"",
            )
        )

    def respond_done(self, reply: bytes, event_id: bytes) -> bytes:
        """Return what `respond` does for a use that was made now. `event_id` is the id after its length, or empty."""
        reason, used, applied, start_ms, budget, reserved, packed, ledger_id = unpack_single(reply, 1)
        return b"".join(
            (
                _EVENT_RECORDED if ledger_id else b"",
                _EVENT_REASON,
                wire.varint(reason),
                wire.counts_of(_EVENT_CONSUMPTION, used, budget, reserved, packed, start_ms),
                _EVENT_APPLIED_DELTA + wire.int64(applied) if applied else b"",
                _EVENT_EVENT_ID + event_id if event_id else wire.text(_EVENT_EVENT_ID, ledger_id),
            )
        )


class UseFeature(Writing):
    """A check and a record in one step. See HotMethod."""

    path = PREFIX + "UseFeature"
    writes = method_at(path).writes
    user_tag = tag(pb.UseFeatureRequest.USER_ID_FIELD_NUMBER, LENGTH_DELIMITED)[0]
    event_tag = tag(pb.UseFeatureRequest.EVENT_ID_FIELD_NUMBER, LENGTH_DELIMITED)[0]

    def plan(self, payload: bytes, env: Environment) -> Plan:
        """See HotMethod."""
        request = parse(pb.UseFeatureRequest, payload)
        delta = request.delta if request.HasField("delta") else 1
        if plan := _quick_plan(env, usage_commands.USE, request, pb.USAGE_ACTION_ADD, delta, 1):
            return plan
        violations = _violations(request)
        violations.amount("delta", delta, 1)
        violations.check()
        return _plan(env, usage_commands.USE, request, pb.USAGE_ACTION_ADD, ((request.feature_id, delta),))

    def respond(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See HotMethod."""
        charge, replayed = read_reply(plan, usage_commands.single, reply, plan.delta)
        answer = b"".join(
            (
                wire.ACCESS[charge.reason],
                wire.counts(_USE_CONSUMPTION, charge),
                wire.text(_USE_EVENT_ID, plan.event_id.encode() or charge.ledger_id),
                _USE_REPLAYED if replayed else b"",
            )
        )
        if charge.reason < _FIRST_NO or not charge.applied_delta:
            return answer
        return answer + _USE_RETRY_AFTER + wire.moment(charge.applied_delta)

    def respond_done(self, reply: bytes, event_id: bytes) -> bytes:
        """Return what `respond` does for a use that was made now. `event_id` is the id after its length, or empty."""
        reason, used, retry_after_ms, start_ms, budget, reserved, packed, ledger_id = unpack_single(reply, 1)
        counts = wire.counts_of(_USE_CONSUMPTION, used, budget, reserved, packed, start_ms)
        shown_id = _USE_EVENT_ID + event_id if event_id else wire.text(_USE_EVENT_ID, ledger_id)
        answer = b"".join((wire.ACCESS[reason], counts, shown_id))
        if reason < _FIRST_NO or not retry_after_ms:
            return answer
        return answer + _USE_RETRY_AFTER + wire.moment(retry_after_ms)


class UseFeatures(Writing):
    """A check and a record of several features in one step, all or nothing. See HotMethod."""

    path = PREFIX + "UseFeatures"
    writes = method_at(path).writes
    user_tag = tag(pb.UseFeaturesRequest.USER_ID_FIELD_NUMBER, LENGTH_DELIMITED)[0]
    event_tag = tag(pb.UseFeaturesRequest.EVENT_ID_FIELD_NUMBER, LENGTH_DELIMITED)[0]

    def plan(self, payload: bytes, env: Environment) -> Plan:
        """See HotMethod."""
        request = parse(pb.UseFeaturesRequest, payload)
        violations = Violations()
        violations.id("user_id", request.user_id)
        check_event_id(violations, request)
        violations.metadata("metadata", request.metadata)
        charges = _charges(violations, request)
        violations.check()
        return _plan(env, usage_commands.USE, request, pb.USAGE_ACTION_ADD, charges)

    def respond(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See HotMethod."""
        outcome, replayed = read_reply(plan, usage_commands.outcome, reply, [0] * len(plan.features))
        refused = outcome.refused
        telling = outcome.charges[max(0, refused - 1)]
        return pb.UseFeaturesResponse(
            access=refused == 0,
            reason=reason_message(telling.reason),
            blocking_feature_id=plan.features[refused - 1].id if refused else "",
            consumptions=[_counts_after(charge) or Consumption() for charge in outcome.charges],
            event_id=plan.event_id or outcome.charges[0].ledger_id,
            replayed=replayed,
            retry_after=retry_after(telling) if refused else None,
        ).SerializeToString()


def _charges(violations: Violations, request: pb.UseFeaturesRequest) -> tuple[tuple[str, int], ...]:
    """Check the charges of a request; return the feature and the delta of each, none where there are too many."""
    count = len(request.charges)
    sent = request.charges if count <= MAX_CHARGES else ()
    charges = tuple((charge.feature_id, charge.delta if charge.HasField("delta") else 1) for charge in sent)
    if not charges or len({feature_id for feature_id, _ in charges}) != count:
        accepted = f"must be 1 to {MAX_CHARGES} charges, each for a different feature"
        again = repeated(feature_id for feature_id, _ in charges)
        violations.add("charges", f"{accepted}; {count} were sent{again}")
    for index, (feature_id, delta) in enumerate(charges):
        violations.id(f"charges[{index}].feature_id", feature_id)
        violations.amount(f"charges[{index}].delta", delta, 1)
    return charges


def ledger_entry(
    user_id: str,
    feature_id: str,
    delta: int,
    action: pb.UsageAction.ValueType,
    event_id: str,
    metadata: Mapping[str, str],
) -> bytes:
    """Return an event as it goes into the ledger, but for what only the script knows."""
    if not event_id and not metadata:
        return wire.ledger_entry(user_id, feature_id, delta, action)
    entry = LedgerEntry(user_id=user_id, feature_id=feature_id, delta=delta, action=action, event_id=event_id)
    entry.metadata.update(metadata)
    return entry.SerializeToString()


def consumable_feature(env: Environment, feature_id: str) -> Feature:
    """Return a feature that can be counted; raise ApiError or FeatureUnknownError where there is none in memory."""
    feature = known_feature(env, feature_id)
    if feature.type != FeatureType.CONSUMABLE:
        raise not_consumable(feature_id)
    return feature


def _violations(request: pb.CreateUsageEventRequest | pb.UseFeatureRequest) -> Violations:
    violations = Violations()
    violations.id("user_id", request.user_id)
    violations.id("feature_id", request.feature_id)
    check_event_id(violations, request)
    violations.metadata("metadata", request.metadata)
    return violations


def _quick_plan(
    env: Environment,
    mode: str,
    request: pb.CreateUsageEventRequest | pb.UseFeatureRequest,
    action: pb.UsageAction.ValueType,
    delta: int,
    least: int,
) -> Plan | None:
    """Return the plan for a request that is surely good and has no more than it needs, as nearly all are; else None."""
    user_id, feature_id = request.user_id, request.feature_id
    feature = env.cache.features.get(feature_id)
    if feature is None or feature.type != FeatureType.CONSUMABLE or not (least <= delta <= MAX_AMOUNT):
        return None
    if not is_plain_id(user_id) or request.metadata:
        return None
    if not (event_id := request.event_id):
        return plan_one(env, mode, user_id, feature, delta, action)
    if not is_plain_id(event_id) or not is_plain_ttl(request):
        return None
    manual_now = env.store.manual_now
    entry = wire.ledger_entry(user_id, feature.id, delta, action) + wire.text(wire.LEDGER_EVENT_ID, event_id.encode())
    charge = Charge(feature.id, delta, feature.archived, entry)
    event = event_argument(env, request, _fingerprint_of_one(mode, feature.id, delta))
    command = usage_commands.record_event_command(env.keys, mode, user_id, charge, env.retention, manual_now, event)
    return Plan(command, user_id, (feature,), delta, event_id, cacheable=not manual_now)


@lru_cache(maxsize=4096)
def _fingerprint_of_one(mode: str, feature_id: str, delta: int) -> bytes:
    return fingerprint(mode, ((feature_id, delta),), {})


def plan_one(
    env: Environment,
    mode: str,
    user_id: str,
    feature: Feature,
    delta: int,
    action: pb.UsageAction.ValueType,
    charge_indexes: tuple[int, ...] = (),
) -> Plan:
    """Return the plan for one use of a known feature, without an event id and metadata. `charge_indexes`: see Plan."""
    manual_now = env.store.manual_now
    entry = wire.ledger_entry(user_id, feature.id, delta, action)
    charge = Charge(feature.id, delta, feature.archived, entry)
    command = usage_commands.record_one_command(env.keys, mode, user_id, charge, env.retention, manual_now)
    # The manual clock's time is part of the command.
    return Plan(command, user_id, (feature,), delta, cacheable=not manual_now, charge_indexes=charge_indexes)


def _plan(
    env: Environment,
    mode: str,
    request: pb.CreateUsageEventRequest | pb.UseFeatureRequest | pb.UseFeaturesRequest,
    action: pb.UsageAction.ValueType,
    charges: tuple[tuple[str, int], ...],
) -> Plan:
    user_id, event_id, metadata = request.user_id, request.event_id, request.metadata
    features = []
    parts = []
    for feature_id, delta in charges:
        feature = consumable_feature(env, feature_id)
        entry = ledger_entry(user_id, feature_id, delta, action, event_id, metadata)
        features.append(feature)
        parts.append(Charge(feature_id, delta, feature.archived, entry))
    event = event_argument(env, request, fingerprint(mode, charges, metadata)) if event_id else b""
    manual_now = env.store.manual_now
    command = usage_commands.record_command(
        env.keys, Use(mode, user_id, tuple(parts), event), env.retention, manual_now
    )
    is_cacheable = len(features) == 1 and not manual_now
    return Plan(command, user_id, tuple(features), charges[0][1], event_id, is_cacheable)


def fill_counts(
    response: pb.ReserveResponse | pb.SettleResponse | pb.ExtendLeaseResponse,
    charge: ChargeOutcome,
) -> None:
    """Write the counts after a call into its answer, where there is something to count."""
    entitlement = charge.entitlement
    if entitlement is not None:
        period = entitlement.period_at(charge.period_start_ms)
        fill_consumption(response.consumption, entitlement, period, charge.used, charge.budget, charge.reserved)


def retry_after(refused: ChargeOutcome) -> Duration | None:
    """Return after what time a refused call will be a yes; None if that is not known."""
    return duration(refused.applied_delta) if refused.applied_delta else None


def _counts_after(charge: ChargeOutcome) -> Consumption | None:
    entitlement = charge.entitlement
    if entitlement is None:
        return None
    period = entitlement.period_at(charge.period_start_ms)
    return consumption(entitlement, period, charge.used, charge.budget, charge.reserved)
