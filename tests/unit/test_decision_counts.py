"""Decisions are counted from the bytes of responses, whichever code has written these."""

from typing import Any

import pytest

from canuse import v1
from canuse_server.api.hotpath.decisions import RATE_LIMIT_OK, RATE_LIMIT_OVER_LIMIT, Decision, count_decision
from canuse_server.api.hotpath.method import Plan
from canuse_server.api.hotpath.methods import HOT_METHODS
from canuse_server.domain.model import Feature, FeatureType
from canuse_server.envoy.rate_limit_service_pb2 import RateLimitResponse
from canuse_server.store.redis.command import Command

API = "/canuse.v1.EntitlementService/"
RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
YES, NO = v1.REASON_WITHIN_BUDGET, v1.REASON_BUDGET_EXCEEDED
STATUS = RateLimitResponse.DescriptorStatus
A, B = (Feature(name, FeatureType.CONSUMABLE, 0) for name in "ab")


def counted(path: str, message: Any, features: tuple[Feature, ...] = (A,), indexes: tuple[int, ...] = ()) -> Any:
    """Return what is counted of a response."""
    counts: dict[Decision, int] = {}
    plan = Plan(Command(()), "user", features, 1, charge_indexes=indexes)
    count_decision(counts, "live", HOT_METHODS[path], plan, message.SerializeToString())
    assert all(environment == "live" for environment, _, _ in counts)
    return {(feature_id, reason): count for (_, feature_id, reason), count in counts.items()}


@pytest.mark.parametrize(
    ("path", "message", "expected"),
    [
        (f"{API}CanUse", v1.CanUseResponse(access=True, reason=YES, source=v1.SOURCE_STORE), {("a", YES): 1}),
        (f"{API}CanUse", v1.CanUseResponse(reason=NO, source=v1.SOURCE_STORE), {("a", NO): 1}),
        (f"{API}UseFeature", v1.UseFeatureResponse(access=True, reason=YES, event_id="e"), {("a", YES): 1}),
        (f"{API}UseFeature", v1.UseFeatureResponse(reason=NO), {("a", NO): 1}),
        (f"{API}CreateUsageEvent", v1.CreateUsageEventResponse(recorded=True, reason=NO), {("a", NO): 1}),
        (
            f"{API}CreateUsageEvent",
            v1.CreateUsageEventResponse(reason=v1.REASON_NOT_ENTITLED),
            {("a", v1.REASON_NOT_ENTITLED): 1},
        ),
        (f"{API}Reserve", v1.ReserveResponse(granted=3, reason=YES), {("a", YES): 1}),
        (f"{API}Settle", v1.SettleResponse(recorded=True, reason=YES), {("a", YES): 1}),
        (f"{API}ExtendLease", v1.ExtendLeaseResponse(), {}),
    ],
)
def test_the_reason_of_a_response_is_counted_for_its_feature(path: str, message: Any, expected: Any) -> None:
    assert counted(path, message) == expected


def test_several_features_are_counted_each_or_the_one_that_was_refused() -> None:
    yes = v1.UseFeaturesResponse(access=True, reason=YES)
    assert counted(f"{API}UseFeatures", yes, (A, B)) == {("a", YES): 1, ("b", YES): 1}
    no = v1.UseFeaturesResponse(reason=NO, blocking_feature_id="b")
    assert counted(f"{API}UseFeatures", no, (A, B)) == {("b", NO): 1}


def test_the_codes_of_envoys_descriptors_are_counted() -> None:
    ok, over = STATUS(code=RateLimitResponse.OK), STATUS(code=RateLimitResponse.OVER_LIMIT)
    one = RateLimitResponse(overall_code=RateLimitResponse.OVER_LIMIT, statuses=[over])
    assert counted(RATE_LIMIT, one, (A,), (0,)) == {("a", RATE_LIMIT_OVER_LIMIT): 1}
    two = RateLimitResponse(overall_code=RateLimitResponse.OVER_LIMIT, statuses=[ok, over, over])
    # The last descriptor has no feature that is known.
    assert counted(RATE_LIMIT, two, (A, B), (0, 1, -2)) == {("a", RATE_LIMIT_OK): 1, ("b", RATE_LIMIT_OVER_LIMIT): 1}
