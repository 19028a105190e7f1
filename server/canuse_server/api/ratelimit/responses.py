"""The answers of Envoy's rate limit service. From them Envoy makes the `x-ratelimit-…` headers."""

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from google.protobuf.duration_pb2 import Duration

from canuse_server.api.hotpath.wire import LENGTH_DELIMITED, VARINT, tag, varint
from canuse_server.api.ratelimit.requests import LIMITS_NOTHING, NOT_LOOKED_AT, REFUSED, ParsedRequest
from canuse_server.domain.model import Reason, ResetPeriod
from canuse_server.domain.periods import rolled
from canuse_server.envoy import rate_limit_service_pb2 as pb
from canuse_server.store.codec.packed import ChargeOutcome, Outcome, Single, terms

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

    Code: TypeAlias = pb.RateLimitResponse.Code.ValueType
    Statuses: TypeAlias = RepeatedCompositeFieldContainer[pb.RateLimitResponse.DescriptorStatus]

OK: Final = pb.RateLimitResponse.OK
OVER_LIMIT: Final = pb.RateLimitResponse.OVER_LIMIT
CODES: "Final[dict[int, Code]]" = {LIMITS_NOTHING: OK, REFUSED: OVER_LIMIT, NOT_LOOKED_AT: pb.RateLimitResponse.UNKNOWN}
"""The codes of descriptors that no charge belongs to, by their places."""
MOST: Final = 2**32 - 1
"""The largest number that the answer has room for."""
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
_SECONDS: Final = tag(Duration.SECONDS_FIELD_NUMBER, VARINT)
_NANOS: Final = tag(Duration.NANOS_FIELD_NUMBER, VARINT)
_NANOSECONDS: Final = [_NANOS + varint(milliseconds * 1_000_000) for milliseconds in range(1000)]


def response_to(charge_indexes: Iterable[int], outcome: Outcome) -> bytes:
    """Return the answer to a request whose descriptors belong to these charges."""
    response = pb.RateLimitResponse()
    for place in charge_indexes:
        if place < 0:
            _add_code(response.statuses, CODES[place])
        else:
            _add(response.statuses, outcome.charges[place], outcome.now_ms)
    return _complete(response)


def response_to_one(charge: Single) -> bytes:
    """Return the answer to a request of one descriptor. It is the usual one, and written by hand: see wire.py."""
    budget, reason = charge.budget, charge.reason
    access = reason < Reason.NOT_ENTITLED
    code = _OK if access else _OVER_LIMIT
    status = code
    if access and budget < 0:
        status += _REMAINING + varint(MOST)
    elif budget >= 0 and charge.packed and (access or reason == Reason.BUDGET_EXCEEDED):
        reset_period, end_ms = _reset(charge.packed, charge.period_start_ms)
        remaining = budget - charge.used - charge.reserved
        status += _limit(budget, reset_period)
        if remaining > 0:
            status += _REMAINING + varint(min(remaining, MOST))
        if end_ms >= 0:
            seconds, milliseconds = divmod(max(0, end_ms - charge.now_ms), 1000)
            duration = _SECONDS + varint(seconds) + _NANOSECONDS[milliseconds]
            status += _DURATION + varint(len(duration)) + duration
    return b"".join((code, _STATUS, varint(len(status)), status))


@lru_cache(maxsize=4096)
def _reset(packed: bytes, period_start_ms: int) -> tuple[int, int]:
    """Return the reset period of an entitlement, and when the period ends; -1: never."""
    _, reset_period, _, start_ms, end_ms, _, _ = terms(packed)
    return reset_period, rolled(start_ms, end_ms, reset_period, period_start_ms)[1]


@lru_cache(maxsize=4096)
def _limit(budget: int, reset_period: int) -> bytes:
    limit = _REQUESTS_PER_UNIT + varint(min(budget, MOST)) + _UNIT + varint(UNITS[ResetPeriod(reset_period)])
    return _LIMIT + varint(len(limit)) + limit


def _add(statuses: "Statuses", charge: ChargeOutcome, now_ms: int) -> None:
    reason, entitlement, budget = charge.reason, charge.entitlement, charge.budget
    access = reason.access
    if access and budget is None:
        # It has no limit, or is binary.
        statuses.add(code=OK, limit_remaining=MOST)
        return
    if entitlement is None or budget is None or not (access or reason is Reason.BUDGET_EXCEEDED):
        # It is not the limit that keeps the user out, and its reset would not let them in.
        statuses.add(code=OVER_LIMIT)
        return
    remaining = min(max(0, budget - charge.used - charge.reserved), MOST)
    status = statuses.add(code=OK if access else OVER_LIMIT, limit_remaining=remaining)
    limit = status.current_limit
    limit.requests_per_unit = min(budget, MOST)
    limit.unit = UNITS[entitlement.reset_period]
    end_ms = entitlement.period_at(charge.period_start_ms).end_ms
    if end_ms is not None:
        seconds, milliseconds = divmod(max(0, end_ms - now_ms), 1000)
        duration = status.duration_until_reset
        duration.seconds = seconds
        duration.nanos = milliseconds * 1_000_000


def response_without_counts(charge_indexes: Iterable[int]) -> bytes:
    """Return the answer to a request that nothing is recorded for."""
    response = pb.RateLimitResponse()
    for place in charge_indexes:
        _add_code(response.statuses, CODES[place])
    return _complete(response)


def user_unknown(asked: ParsedRequest, *, deny: bool) -> bytes:
    """Return the answer about a user that there is not."""
    place = REFUSED if deny else LIMITS_NOTHING
    return response_without_counts([LIMITS_NOTHING if name is None else place for name in asked.features])


def impossible(charge_indexes: Iterable[int]) -> bytes:
    """Return the answer to a request for uses that can't be recorded."""
    refused = [LIMITS_NOTHING if place == LIMITS_NOTHING else REFUSED for place in charge_indexes]
    return response_without_counts(refused) if refused else _REFUSED


def _add_code(statuses: "Statuses", code: "Code") -> None:
    statuses.add(code=code, limit_remaining=MOST if code == OK else 0)


def _complete(response: pb.RateLimitResponse) -> bytes:
    over_limit = any(status.code == OVER_LIMIT for status in response.statuses)
    response.overall_code = OVER_LIMIT if over_limit else OK
    return response.SerializeToString()


_REFUSED: Final = pb.RateLimitResponse(overall_code=OVER_LIMIT).SerializeToString()
