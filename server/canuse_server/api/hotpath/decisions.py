"""Counts of decisions and recorded uses, for metrics: by environment, feature and reason.

They are taken from the responses, so no method has to count: the batch lane, the executor and batches do.
"""

from collections.abc import Callable, Mapping
from typing import Final

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api.hotpath import wire
from canuse_server.api.hotpath.method import PREFIX, HotMethod, Plan
from canuse_server.envoy import rate_limit_service_pb2
from canuse_server.envoy.rate_limit_service_pb2 import RateLimitResponse
from canuse_server.runtime.counters import ThreadCounts

Decision = tuple[str, str, int]
"""Environment, feature id, and the number of the reason."""

DECISIONS: Final[ThreadCounts[Decision]] = ThreadCounts()
WITHOUT_STORE: Final[ThreadCounts[str]] = ThreadCounts()
"""Responses that were given while the store was unavailable, by their source."""

RATE_LIMIT_OK: Final = -1
"""In place of the number of a reason: Envoy's protocol has none."""
RATE_LIMIT_OVER_LIMIT: Final = -2

_RATE_LIMIT: Final = rate_limit_service_pb2.DESCRIPTOR.services_by_name["RateLimitService"]
_RATE_LIMIT_CODES: Final[dict[int, int]] = {
    RateLimitResponse.UNKNOWN: RATE_LIMIT_OVER_LIMIT,
    RateLimitResponse.OK: RATE_LIMIT_OK,
    RateLimitResponse.OVER_LIMIT: RATE_LIMIT_OVER_LIMIT,
}
_ACCESS: Final = wire.tag(pb.CanUseResponse.ACCESS_FIELD_NUMBER, wire.VARINT)[0]
_REASON: Final = wire.tag(pb.CanUseResponse.REASON_FIELD_NUMBER, wire.VARINT)[0]
_RETRY_AFTER: Final = wire.tag(pb.CanUseResponse.RETRY_AFTER_FIELD_NUMBER, wire.LENGTH_DELIMITED)[0]
for _message in (pb.UseFeatureResponse, pb.UseFeaturesResponse, pb.CreateUsageEventResponse):
    assert _message.DESCRIPTOR.fields_by_name["reason"].number == pb.CanUseResponse.REASON_FIELD_NUMBER


def count_decision(
    counts: dict[Decision, int], environment: str, method: HotMethod, plan: Plan, response: bytes
) -> None:
    """Count what a response says; `counts` are those of this thread."""
    several = _DECISIONS.get(method.path)
    if several is None:
        first = response[0]
        reason = response[3] if first == _ACCESS else response[1] if first == _REASON else _reason_behind(response)
        key = (environment, plan.features[0].id, reason)
        counts[key] = counts.get(key, 0) + 1
        return
    for feature_id, number in several(plan, response):
        key = (environment, feature_id, number)
        counts[key] = counts.get(key, 0) + 1


def _reason_behind(response: bytes) -> int:
    """Return the reason in a no that begins with `retry_after`; a yes without `recorded` has none at its beginning."""
    at = 2 + response[1] if response[0] == _RETRY_AFTER else 0
    return response[at + 1] if response[at] == _REASON else 0


def _of_use_features(plan: Plan, response: bytes) -> list[tuple[str, int]]:
    """Return a decision for each feature, or that of the one that was refused."""
    if response[0] == _ACCESS:
        return [(feature.id, response[3]) for feature in plan.features]
    answer = pb.UseFeaturesResponse.FromString(response)
    return [(answer.blocking_feature_id, answer.reason)]


def _of_reserve(plan: Plan, response: bytes) -> list[tuple[str, int]]:
    return [(plan.features[0].id, pb.ReserveResponse.FromString(response).reason)]


def _of_settle(plan: Plan, response: bytes) -> list[tuple[str, int]]:
    return [(plan.features[0].id, pb.SettleResponse.FromString(response).reason)]


def _of_rate_limit(plan: Plan, response: bytes) -> list[tuple[str, int]]:
    """Return a decision for each descriptor whose feature is known."""
    if plan.charge_indexes == (0,):
        # The code of the whole response, its first field, is that of the only descriptor.
        return [(plan.features[0].id, _RATE_LIMIT_CODES[response[1]])]
    statuses = RateLimitResponse.FromString(response).statuses
    return [
        (plan.features[index].id, _RATE_LIMIT_CODES[status.code])
        for index, status in zip(plan.charge_indexes, statuses, strict=False)
        if 0 <= index < len(plan.features)
    ]


_DECISIONS: Final[Mapping[str, Callable[[Plan, bytes], list[tuple[str, int]]]]] = {
    f"{PREFIX}UseFeatures": _of_use_features,
    f"{PREFIX}Reserve": _of_reserve,
    f"{PREFIX}Settle": _of_settle,
    f"{PREFIX}ExtendLease": lambda _plan, _response: [],
    f"/{_RATE_LIMIT.full_name}/ShouldRateLimit": _of_rate_limit,
}
"""How to find the decisions in the responses of the methods whose first fields do not say the only one."""
