"""The main use case: a user is allowed, uses up the budget, is refused, and is allowed again after the reset."""

from canuse import v1
from support.message_clients import Client
from support.resources import Clock, package, unique


def test_user_is_allowed_until_the_budget_is_used_up_and_again_after_the_reset(clocked: Client, clock: Clock) -> None:
    feature_id, user_id = unique("api-calls"), unique("124")
    clocked.create_user(user_id)
    clocked.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
    entry = v1.PackageFeature(feature_id=feature_id, limit=5, reset_period=v1.RESET_PERIOD_DAY)
    clocked.subscribe(user_id, [package(clocked, [entry])])

    assert clocked.can_use(user_id, feature_id).access
    recorded = clocked.create_usage_event(user_id, feature_id, 5)
    assert (recorded.recorded, recorded.reason) == (True, v1.REASON_WITHIN_BUDGET)

    refused = clocked.can_use(user_id, feature_id)
    assert not refused.access
    assert refused.reason == v1.REASON_BUDGET_EXCEEDED
    assert (refused.consumption.used, refused.consumption.budget, refused.consumption.remaining) == (5, 5, 0)

    clock.set(refused.consumption.resets_at.ToDatetime(tzinfo=clock.now().tzinfo))
    assert clocked.can_use(user_id, feature_id).access
    usage = clocked.show_usage(user_id, feature_id)
    assert usage.current.used == 0
    assert [(past.used, past.budget) for past in usage.past] == [(5, 5)]
