"""Reserve, ExtendLease and Settle: an amount set aside ahead of use, and what was used of it."""

import secrets
from typing import Final

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api.convert import timestamp
from canuse_server.api.environment import Environment
from canuse_server.api.errors import lease_not_found
from canuse_server.api.hotpath.event_ids import check_event_id, event_argument
from canuse_server.api.hotpath.method import PREFIX, FeatureUnknownError, Plan, parse, reason_message
from canuse_server.api.hotpath.record import Writing, consumable_feature, fill_counts, ledger_entry, retry_after
from canuse_server.api.hotpath.refusals import read_reply
from canuse_server.api.methods import method_at
from canuse_server.api.tokens import lease as lease_tokens
from canuse_server.api.tokens.lease import LeaseName
from canuse_server.api.validation import Violations
from canuse_server.domain.model import Feature
from canuse_server.domain.periods import SECOND_MS
from canuse_server.store.codec.event_ids import fingerprint
from canuse_server.store.codec.user_values import LONGEST_LEASE_MS
from canuse_server.store.repositories import leases
from canuse_server.store.repositories.leases import (
    TOKEN_BYTES,
    ExtendParams,
    ReserveParams,
    SettleParams,
)

MIN_TTL_MS: Final = SECOND_MS
MAX_TTL_MS: Final = LONGEST_LEASE_MS
TTL_MS: Final = 60 * SECOND_MS


class Reserve(Writing):
    """Sets an amount aside. See HotMethod."""

    path = PREFIX + "Reserve"
    writes = method_at(path).writes

    def plan(self, payload: bytes, env: Environment) -> Plan:
        """See HotMethod."""
        request = parse(pb.ReserveRequest, payload)
        user_id, feature_id, event_id, amount = request.user_id, request.feature_id, request.event_id, request.amount
        min_amount = request.min_amount if request.HasField("min_amount") else 1
        violations = Violations()
        violations.id("user_id", user_id)
        violations.id("feature_id", feature_id)
        check_event_id(violations, request)
        violations.amount("amount", amount, 1)
        if not 1 <= min_amount <= max(1, amount):
            violations.add("min_amount", f"must be 1 to amount, which is {amount}; {min_amount} was sent")
        ttl_ms = TTL_MS
        if request.HasField("ttl"):
            ttl_ms = violations.duration_ms("ttl", request.ttl, MIN_TTL_MS, MAX_TTL_MS)
        violations.check()
        feature = consumable_feature(env, feature_id)
        content = (feature_id, amount, min_amount, ttl_ms)
        event = event_argument(env, request, fingerprint("reserve", content, {})) if event_id else b""
        token = secrets.token_bytes(TOKEN_BYTES)
        params = ReserveParams(user_id, feature_id, feature.archived, amount, min_amount, ttl_ms, token, event)
        command = leases.reserve_command(env.keys, params, env.retention, env.store.manual_now)
        return Plan(command, user_id, (feature,), amount, event_id)

    def respond(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See HotMethod."""
        reserved = read_reply(plan, leases.reserved, reply)
        response = pb.ReserveResponse(
            granted=reserved.granted,
            reason=reason_message(reserved.charge.reason),
            event_id=plan.event_id,
            replayed=reserved.replayed,
        )
        if reserved.granted:
            name = LeaseName(plan.user_id, plan.features[0].id, reserved.token)
            response.lease_id = lease_tokens.encode(name)
            response.expires_at.CopyFrom(timestamp(reserved.expires_at_ms))
        elif (after := retry_after(reserved.charge)) is not None:
            response.retry_after.CopyFrom(after)
        fill_counts(response, reserved.charge)
        return response.SerializeToString()


class Settle(Writing):
    """Counts what was used of a lease, and gives the rest back, or keeps it. See HotMethod."""

    path = PREFIX + "Settle"
    writes = method_at(path).writes

    def plan(self, payload: bytes, env: Environment) -> Plan:
        """See HotMethod."""
        request = parse(pb.SettleRequest, payload)
        lease_id, used, event_id, metadata = request.lease_id, request.used, request.event_id, request.metadata
        violations = Violations()
        _check_lease_id(violations, lease_id)
        if request.HasField("used"):
            violations.amount("used", used, 0)
        else:
            violations.add("used", "must be given, 0 to 2^53 - 1; nothing was sent")
        check_event_id(violations, request)
        violations.metadata("metadata", metadata)
        violations.check()
        (user_id, feature_id, token), feature = _lease(env, lease_id)
        final = request.final or not request.HasField("final")
        entry = ledger_entry(user_id, feature_id, used, pb.USAGE_ACTION_ADD, event_id, metadata)
        content = (token, used) if final else (token, used, "part")
        event = event_argument(env, request, fingerprint("settle", content, metadata)) if event_id else b""
        params = SettleParams(user_id, feature_id, feature.archived, token, used, entry, event, final)
        command = leases.settle_command(env.keys, params, env.retention, env.store.manual_now)
        return Plan(command, user_id, (feature,), used, event_id, lease_id=lease_id)

    def respond(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See HotMethod."""
        settled = read_reply(plan, leases.settled, reply, plan.delta)
        charge = settled.charge
        response = pb.SettleResponse(
            recorded=charge.recorded,
            reason=reason_message(charge.reason),
            late=settled.late,
            event_id=plan.event_id or charge.ledger_id,
            replayed=settled.replayed,
        )
        fill_counts(response, charge)
        return response.SerializeToString()


class ExtendLease(Writing):
    """Lets a lease expire later, and adds units to it. See HotMethod."""

    path = PREFIX + "ExtendLease"
    writes = method_at(path).writes

    def plan(self, payload: bytes, env: Environment) -> Plan:
        """See HotMethod."""
        request = parse(pb.ExtendLeaseRequest, payload)
        lease_id, event_id, ttl_ms = request.lease_id, request.event_id, 0
        violations = Violations()
        _check_lease_id(violations, lease_id)
        if request.HasField("ttl"):
            ttl_ms = violations.duration_ms("ttl", request.ttl, MIN_TTL_MS, MAX_TTL_MS)
        elif not request.HasField("amount"):
            violations.add("ttl", "must be given unless amount is; neither was sent")
        if request.HasField("amount"):
            violations.amount("amount", request.amount, 1)
        check_event_id(violations, request)
        violations.check()
        (user_id, feature_id, token), feature = _lease(env, lease_id)
        content = (token, ttl_ms, request.amount)
        event = event_argument(env, request, fingerprint("extend", content, {})) if event_id else b""
        params = ExtendParams(user_id, feature_id, feature.archived, token, ttl_ms, request.amount, event)
        command = leases.extend_command(env.keys, params, env.store.manual_now)
        return Plan(command, user_id, (feature,), request.amount, event_id, lease_id=lease_id)

    def respond(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """See HotMethod."""
        result = read_reply(plan, leases.extended, reply)
        response = pb.ExtendLeaseResponse(
            extended=result.extended,
            granted=result.amount,
            expires_at=timestamp(result.expires_at_ms),
            reason=reason_message(result.charge.reason),
            event_id=plan.event_id,
            replayed=result.replayed,
        )
        fill_counts(response, result.charge)
        return response.SerializeToString()


def _check_lease_id(violations: Violations, lease_id: str) -> None:
    """Note a missing lease id."""
    if not lease_id:
        violations.add("lease_id", "must be the id of a lease; nothing was sent")


def _lease(env: Environment, lease_id: str) -> tuple[LeaseName, Feature]:
    """Return the parts of a lease's id and its feature; raise ApiError or FeatureUnknownError."""
    name = lease_tokens.decode(lease_id)
    if name is None:
        raise lease_not_found(lease_id)
    feature = env.cache.features.get(name.feature_id)
    if feature is None:
        raise FeatureUnknownError(name.feature_id, lease_not_found(lease_id))
    return name, feature
