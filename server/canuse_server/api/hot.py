"""The hot methods, each as two pure functions with one trip to the store between them.

`plan` reads a request and says which command to send; `conclude` reads the reply and makes the answer. The servicer
awaits the trip, the batch lane makes it for many calls at once; neither knows the rules. What cannot be answered by one
trip is raised as a detour: the servicer takes it and starts over.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Protocol, TypeVar, cast

from google.protobuf.message import DecodeError, Message

from canuse.v1 import entitlement_service_pb2 as pb
from canuse.v1.consumption_pb2 import Consumption
from canuse.v1.ledger_pb2 import LedgerEntry
from canuse.v1.reason_pb2 import SOURCE_STORE
from canuse.v1.reason_pb2 import Reason as ReasonMessage
from canuse_server.api.convert import consumption
from canuse_server.api.errors import event_id_reused, not_consumable, total_out_of_range
from canuse_server.api.validation import Violations, is_plain_id, malformed
from canuse_server.api.world import World
from canuse_server.domain.decision import Standing, TotalOutOfRangeError, decide
from canuse_server.domain.model import MAX_AMOUNT, Feature, FeatureType, Reason
from canuse_server.store import usage
from canuse_server.store.layout import Outcome
from canuse_server.store.usage import (
    EventIdReusedError,
    RecordOutOfRangeError,
    StaleError,
    Trip,
    Use,
    UserMissingError,
)

Request = TypeVar("Request", bound=Message)
PREFIX: Final = "/canuse.v1.EntitlementService/"


class FeatureUnknownError(Exception):
    """The feature is not in memory; the store may know it."""

    def __init__(self, feature_id: str) -> None:
        super().__init__(feature_id)
        self.feature_id = feature_id


DETOURS: Final = (FeatureUnknownError, UserMissingError, StaleError)
"""What one trip can't answer: see what the servicer does about each."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A call on its way to the store and back."""

    trip: Trip
    user_id: str
    feature: Feature
    delta: int
    event_id: str = ""


class HotMethod(Protocol):
    """A method that the batch lane can serve."""

    path: str
    writes: bool

    def plan(self, payload: bytes, world: World) -> Plan:
        """Read a request; raise ApiError where it is bad and FeatureUnknownError where the feature is not in memory."""

    def conclude(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """Make the answer; raise ApiError, or UserMissingError or StaleError where the trip did not bring it."""


class CanUse:
    """A check: reads, decides, writes nothing."""

    path = PREFIX + "CanUse"
    writes = False

    def plan(self, payload: bytes, world: World) -> Plan:
        """See HotMethod."""
        request = parse(pb.CanUseRequest, payload)
        delta = request.delta if request.HasField("delta") else 1
        user_id, feature_id = request.user_id, request.feature_id
        if not (is_plain_id(user_id) and is_plain_id(feature_id) and 0 < delta <= MAX_AMOUNT):
            known = world.cache.features.get(feature_id)
            ignored = known is not None and known.type == FeatureType.BINARY
            _check(user_id, feature_id, 1 if ignored else delta, least=1)
        feature = _known(world, feature_id)
        return Plan(usage.check_trip(world.keys, user_id, feature_id), user_id, feature, delta)

    def conclude(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See HotMethod."""
        standing = usage.standing(reply, now_ms, archived=plan.feature.archived)
        try:
            reason = decide(standing, plan.delta)
        except TotalOutOfRangeError:
            raise total_out_of_range(plan.user_id, plan.feature.id) from None
        return pb.CanUseResponse(
            access=reason.access, reason=_message(reason), consumption=counts(standing), source=SOURCE_STORE
        ).SerializeToString()


class CreateUsageEvent:
    """A fact: recorded past the budget too."""

    path = PREFIX + "CreateUsageEvent"
    writes = True

    def plan(self, payload: bytes, world: World) -> Plan:
        """See HotMethod."""
        request = parse(pb.CreateUsageEventRequest, payload)
        action = request.action or pb.USAGE_ACTION_ADD
        setting = action == pb.USAGE_ACTION_SET
        least = 0 if setting else -MAX_AMOUNT
        given = request.HasField("delta")
        delta = request.delta if given else 1
        plain = is_plain_id(request.user_id) and is_plain_id(request.feature_id)
        if (
            not plain
            or not least <= delta <= MAX_AMOUNT
            or request.event_id
            or request.metadata
            or action != pb.USAGE_ACTION_ADD
            or not delta
        ):
            violations = Violations()
            if action not in (pb.USAGE_ACTION_ADD, pb.USAGE_ACTION_SET):
                violations.add("action", f"must be USAGE_ACTION_ADD or USAGE_ACTION_SET; {action} was sent")
            if setting and not given:
                violations.add("delta", "must be given with USAGE_ACTION_SET, 0 to 2^53 - 1; nothing was sent")
            if not setting and delta == 0:
                violations.add("delta", "must be -(2^53 - 1) to 2^53 - 1 but not 0; 0 was sent")
            _check(request.user_id, request.feature_id, delta, least, request.event_id, request.metadata, violations)
        return _plan_use(usage.SET if setting else usage.ADD, request, action, delta, world)

    def conclude(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See HotMethod."""
        outcome, replayed = _outcome(plan, reply)
        return pb.CreateUsageEventResponse(
            recorded=outcome.ledger_id != "",
            reason=_message(outcome.reason),
            consumption=_counts_after(outcome),
            applied_delta=outcome.applied_delta,
            event_id=plan.event_id or outcome.ledger_id,
            replayed=replayed,
        ).SerializeToString()


class UseFeature:
    """A check and a record in one step."""

    path = PREFIX + "UseFeature"
    writes = True

    def plan(self, payload: bytes, world: World) -> Plan:
        """See HotMethod."""
        request = parse(pb.UseFeatureRequest, payload)
        delta = request.delta if request.HasField("delta") else 1
        plain = is_plain_id(request.user_id) and is_plain_id(request.feature_id)
        if not plain or not 0 < delta <= MAX_AMOUNT or request.event_id or request.metadata:
            _check(request.user_id, request.feature_id, delta, 1, request.event_id, request.metadata)
        return _plan_use(usage.USE, request, pb.USAGE_ACTION_ADD, delta, world)

    def conclude(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See HotMethod."""
        outcome, replayed = _outcome(plan, reply)
        return pb.UseFeatureResponse(
            access=outcome.reason.access,
            reason=_message(outcome.reason),
            consumption=_counts_after(outcome),
            event_id=plan.event_id or outcome.ledger_id,
            replayed=replayed,
        ).SerializeToString()


HOT_METHODS: Final[tuple[HotMethod, ...]] = (CanUse(), CreateUsageEvent(), UseFeature())


def parse(kind: type[Request], payload: bytes) -> Request:
    """Read a request; raise INVALID_FIELD where the bytes are no such message."""
    try:
        return kind.FromString(payload)
    except DecodeError:
        raise malformed(kind.DESCRIPTOR.full_name) from None


def counts(standing: Standing) -> Consumption | None:
    """Return the counts that a check was based on, or None where there is nothing to count."""
    entitlement = standing.entitlement
    if entitlement is None or not entitlement.consumable:
        return None
    return consumption(entitlement, *standing.current())


def _check(
    user_id: str,
    feature_id: str,
    delta: int,
    least: int,
    event_id: str = "",
    metadata: Mapping[str, str] | None = None,
    violations: Violations | None = None,
) -> None:
    """Check a request thoroughly; the callers have a quick look first, which nearly all requests pass."""
    violations = violations or Violations()
    violations.id("user_id", user_id)
    violations.id("feature_id", feature_id)
    violations.amount("delta", delta, least)
    violations.event_id("event_id", event_id)
    violations.metadata("metadata", metadata or {})
    violations.check()


def _known(world: World, feature_id: str) -> Feature:
    feature = world.cache.features.get(feature_id)
    if feature is None:
        raise FeatureUnknownError(feature_id)
    return feature


def _plan_use(
    mode: str,
    request: pb.CreateUsageEventRequest | pb.UseFeatureRequest,
    action: pb.UsageAction.ValueType,
    delta: int,
    world: World,
) -> Plan:
    feature = _known(world, request.feature_id)
    if feature.type != FeatureType.CONSUMABLE:
        raise not_consumable(feature.id)
    user_id, event_id, metadata = request.user_id, request.event_id, request.metadata
    entry = LedgerEntry(
        user_id=user_id, feature_id=feature.id, delta=delta, action=action, event_id=event_id, metadata=metadata
    ).SerializeToString()
    use = Use(
        mode=mode,
        user_id=user_id,
        feature_id=feature.id,
        delta=delta,
        archived=feature.archived,
        event_id=event_id,
        fingerprint=fingerprint(mode, feature.id, delta, metadata) if event_id else b"",
        entry=entry,
    )
    trip = usage.record_trip(world.keys, use, world.retention, world.store.manual_now)
    return Plan(trip, user_id, feature, delta, event_id)


def fingerprint(mode: str, feature_id: str, delta: int, metadata: Mapping[str, str]) -> bytes:
    """Return 8 bytes that tell the content of a mutating call apart from other content under the same event id."""
    content = repr((mode, feature_id, delta, sorted(metadata.items())))
    return blake2b(content.encode(), digest_size=8).digest()


def _outcome(plan: Plan, reply: object) -> tuple[Outcome, bool]:
    try:
        return usage.outcome(reply)
    except EventIdReusedError:
        raise event_id_reused(plan.user_id, plan.event_id) from None
    except RecordOutOfRangeError:
        raise total_out_of_range(plan.user_id, plan.feature.id) from None


def _counts_after(outcome: Outcome) -> Consumption | None:
    entitlement = outcome.entitlement
    if entitlement is None:
        return None
    return consumption(entitlement, entitlement.period_at(outcome.period_start_ms), outcome.used)


def _message(reason: Reason) -> ReasonMessage.ValueType:
    return cast("ReasonMessage.ValueType", int(reason))
