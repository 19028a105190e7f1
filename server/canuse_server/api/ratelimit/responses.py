"""Responses of Envoy's rate limit service, from which Envoy creates the `x-ratelimit-…` headers."""

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from canuse_server.api.hotpath.wire import LENGTH_DELIMITED, VARINT, moment, tag, varint
from canuse_server.api.ratelimit.requests import LIMITS_NOTHING, NOT_CHECKED, REFUSED, ParsedRequest
from canuse_server.domain.model import Reason, ResetPeriod
from canuse_server.domain.periods import rolled
from canuse_server.envoy import rate_limit_service_pb2 as pb
from canuse_server.store.codec.user_values import ChargeOutcome, Outcome, Single, terms

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

    Code: TypeAlias = pb.RateLimitResponse.Code.ValueType
    Statuses: TypeAlias = RepeatedCompositeFieldContainer[pb.RateLimitResponse.DescriptorStatus]

OK: Final = pb.RateLimitResponse.OK
OVER_LIMIT: Final = pb.RateLimitResponse.OVER_LIMIT
CODES: "Final[dict[int, Code]]" = {LIMITS_NOTHING: OK, REFUSED: OVER_LIMIT, NOT_CHECKED: pb.RateLimitResponse.UNKNOWN}
"""The codes of descriptors without a charge, by charge index."""
MAX_UINT32: Final = 2**32 - 1
"""The largest number in a response."""
UNITS: Final = {
    ResetPeriod.NEVER: pb.RateLimitResponse.RateLimit.UNKNOWN,
    ResetPeriod.HOUR: pb.RateLimitResponse.RateLimit.HOUR,
    ResetPeriod.DAY: pb.RateLimitResponse.RateLimit.DAY,
    ResetPeriod.WEEK: pb.RateLimitResponse.RateLimit.WEEK,
    ResetPeriod.MONTH: pb.RateLimitResponse.RateLimit.MONTH,
    ResetPeriod.YEAR: pb.RateLimitResponse.RateLimit.YEAR,
}
_Status: Final = pb.RateLimitResponse.DescriptorStatus
_Limit: Final = pb.RateLimitResponse.RateLimit
# The field of the code has the same number in both messages.
_CODE: Final = tag(_Status.CODE_FIELD_NUMBER, VARINT)
_OK, _OVER_LIMIT = _CODE + varint(OK), _CODE + varint(OVER_LIMIT)
_STATUS: Final = tag(pb.RateLimitResponse.STATUSES_FIELD_NUMBER, LENGTH_DELIMITED)
_LIMIT: Final = tag(_Status.CURRENT_LIMIT_FIELD_NUMBER, LENGTH_DELIMITED)
_REMAINING: Final = tag(_Status.LIMIT_REMAINING_FIELD_NUMBER, VARINT)
_DURATION: Final = tag(_Status.DURATION_UNTIL_RESET_FIELD_NUMBER, LENGTH_DELIMITED)
_REQUESTS_PER_UNIT: Final = tag(_Limit.REQUESTS_PER_UNIT_FIELD_NUMBER, VARINT)
_UNIT: Final = tag(_Limit.UNIT_FIELD_NUMBER, VARINT)


def response_to(charge_indexes: Iterable[int], outcome: Outcome) -> bytes:
    """Return the response to a request by the charge index of each descriptor."""
    response = pb.RateLimitResponse()
    for index in charge_indexes:
        if index < 0:
            _add_code(response.statuses, CODES[index])
        else:
            _add(response.statuses, outcome.charges[index], outcome.now_ms)
    return _complete(response)


def response_to_one(charge: Single) -> bytes:
    """Return the response to a request with one descriptor. The usual case is encoded by hand: see wire.py."""
    budget, reason = charge.budget, charge.reason
    access = reason < Reason.NOT_ENTITLED
    code = _OK if access else _OVER_LIMIT
    status = code
    if access and budget < 0:
        status += _REMAINING + varint(MAX_UINT32)
    elif budget >= 0 and charge.entitlement_bytes and (access or reason == Reason.BUDGET_EXCEEDED):
        reset_period, end_ms = _reset(charge.entitlement_bytes, charge.period_start_ms)
        remaining = budget - charge.used - charge.reserved
        status += _limit(budget, reset_period)
        if remaining > 0:
            status += _REMAINING + varint(min(remaining, MAX_UINT32))
        if end_ms >= 0:
            status += _DURATION + moment(max(0, end_ms - charge.now_ms))
    return b"".join((code, _STATUS, varint(len(status)), status))


@lru_cache(maxsize=4096)
def _reset(packed: bytes, period_start_ms: int) -> tuple[int, int]:
    """Return the reset period of an entitlement, and the end of the period in milliseconds, -1 for none."""
    _, reset_period, _, start_ms, end_ms, *_ = terms(packed)
    return reset_period, rolled(start_ms, end_ms, reset_period, period_start_ms)[1]


@lru_cache(maxsize=4096)
def _limit(budget: int, reset_period: int) -> bytes:
    limit = _REQUESTS_PER_UNIT + varint(min(budget, MAX_UINT32)) + _UNIT + varint(UNITS[ResetPeriod(reset_period)])
    return _LIMIT + varint(len(limit)) + limit


def _add(statuses: "Statuses", charge: ChargeOutcome, now_ms: int) -> None:
    reason, entitlement, budget = charge.reason, charge.entitlement, charge.budget
    access = reason.access
    if access and budget is None:
        # The feature is unlimited or binary.
        statuses.add(code=OK, limit_remaining=MAX_UINT32)
        return
    if entitlement is None or budget is None or not (access or reason is Reason.BUDGET_EXCEEDED):
        # The budget is not the reason for the denial, so a reset would not help.
        statuses.add(code=OVER_LIMIT)
        return
    remaining = min(max(0, budget - charge.used - charge.reserved), MAX_UINT32)
    status = statuses.add(code=OK if access else OVER_LIMIT, limit_remaining=remaining)
    limit = status.current_limit
    limit.requests_per_unit = min(budget, MAX_UINT32)
    limit.unit = UNITS[entitlement.reset_period]
    end_ms = entitlement.period_at(charge.period_start_ms).end_ms
    if end_ms is not None:
        seconds, milliseconds = divmod(max(0, end_ms - now_ms), 1000)
        duration = status.duration_until_reset
        duration.seconds = seconds
        duration.nanos = milliseconds * 1_000_000


def response_without_counts(charge_indexes: Iterable[int]) -> bytes:
    """Return the response to a request of which nothing is recorded."""
    response = pb.RateLimitResponse()
    for index in charge_indexes:
        _add_code(response.statuses, CODES[index])
    return _complete(response)


def user_unknown(parsed: ParsedRequest, *, deny: bool) -> bytes:
    """Return the response for an unknown user."""
    index = REFUSED if deny else LIMITS_NOTHING
    return response_without_counts([LIMITS_NOTHING if name is None else index for name in parsed.features])


def refused_response(charge_indexes: Iterable[int]) -> bytes:
    """Return the response to a request that is refused as a whole."""
    refused = [LIMITS_NOTHING if index == LIMITS_NOTHING else REFUSED for index in charge_indexes]
    return response_without_counts(refused) if refused else _REFUSED


def _add_code(statuses: "Statuses", code: "Code") -> None:
    statuses.add(code=code, limit_remaining=MAX_UINT32 if code == OK else 0)


def _complete(response: pb.RateLimitResponse) -> bytes:
    over_limit = any(status.code == OVER_LIMIT for status in response.statuses)
    response.overall_code = OVER_LIMIT if over_limit else OK
    return response.SerializeToString()


_REFUSED: Final = pb.RateLimitResponse(overall_code=OVER_LIMIT).SerializeToString()
