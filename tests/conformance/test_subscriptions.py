"""Subscriptions: which ones count, from when until when, and the effect on the counts."""

from datetime import UTC, timedelta

import grpc

from canuse import v1
from support.message_clients import Client
from support.resources import Clock, consumable, package, subscriber, unique
from support.wire import Stubs, failure

MILLISECOND = timedelta(milliseconds=1)
ACTIVE, TRIALING = v1.SUBSCRIPTION_STATUS_ACTIVE, v1.SUBSCRIPTION_STATUS_TRIALING
CANCELLED, PAST_DUE = v1.SUBSCRIPTION_STATUS_CANCELLED, v1.SUBSCRIPTION_STATUS_PAST_DUE
MONTH = v1.RESET_PERIOD_MONTH


def limited_package(
    client: Client,
    feature_id: str,
    limit: int | None,
    period: v1.ResetPeriod.ValueType = MONTH,
    kind: v1.PackageType.ValueType = v1.PACKAGE_TYPE_BASE,
) -> str:
    """Publish a package with one feature and return its id."""
    return package(client, [v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=period)], kind)


def reason(client: Client, user_id: str, feature_id: str) -> str:
    """Return the reason of a check of one unit."""
    return v1.Reason.Name(client.can_use(user_id, feature_id).reason).removeprefix("REASON_")


def test_a_subscription_is_active_from_now_unless_it_says_otherwise(clocked: Client, clock: Clock) -> None:
    user_id, _ = subscriber(clocked, 5)
    [subscription] = clocked.list_subscriptions(user_id)
    assert (subscription.user_id, subscription.status, subscription.package_version) == (user_id, ACTIVE, 1)
    assert subscription.started_at.ToDatetime(UTC) == clock.now()
    assert not subscription.HasField("trial_end")
    assert not subscription.HasField("cancel_at")
    assert clocked.get_subscription(subscription.id) == subscription


def test_a_subscription_gives_nothing_before_its_start_and_everything_at_it(clocked: Client, clock: Clock) -> None:
    start = clock.now() + timedelta(days=3)
    user_id, feature_id = subscriber(clocked, 5, started_at=start)
    assert reason(clocked, user_id, feature_id) == "SUBSCRIPTION_INACTIVE"
    clock.set(start - MILLISECOND)
    assert reason(clocked, user_id, feature_id) == "SUBSCRIPTION_INACTIVE"
    assert not clocked.use_feature(user_id, feature_id).access
    clock.set(start)
    answer = clocked.use_feature(user_id, feature_id)
    assert answer.access
    assert answer.consumption.period_start.ToDatetime(UTC) == start


def test_a_trial_ends_at_its_moment(clocked: Client, clock: Clock) -> None:
    feature_id, user_id, end = consumable(clocked), unique("user"), clock.now() + timedelta(days=14)
    clocked.create_user(user_id)
    [trial] = clocked.subscribe(user_id, [limited_package(clocked, feature_id, 5)], trial_end=end)
    assert (trial.status, trial.trial_end.ToDatetime(UTC)) == (TRIALING, end)
    clock.set(end - MILLISECOND)
    assert clocked.use_feature(user_id, feature_id).access
    assert clocked.get_subscription(trial.id).status == TRIALING
    clock.set(end)
    assert reason(clocked, user_id, feature_id) == "SUBSCRIPTION_INACTIVE"
    assert not clocked.use_feature(user_id, feature_id).access
    assert clocked.get_subscription(trial.id).status == CANCELLED
    [entitlement] = clocked.list_entitlements(user_id)
    assert (entitlement.access, entitlement.reason) == (False, v1.REASON_SUBSCRIPTION_INACTIVE)


def test_a_trial_that_is_converted_goes_on_and_one_that_is_extended_ends_later(clocked: Client, clock: Clock) -> None:
    first, end = consumable(clocked), clock.now() + timedelta(days=14)
    package_id = limited_package(clocked, first, 5)
    users = [clocked.create_user(unique("user")).id for _ in range(2)]
    trials = [clocked.subscribe(user_id, [package_id], trial_end=end)[0] for user_id in users]
    assert clocked.update_subscription(trials[0].id, status=ACTIVE).status == ACTIVE
    later = clocked.update_subscription(trials[1].id, trial_end=end + timedelta(days=1))
    assert (later.status, later.trial_end.ToDatetime(UTC)) == (TRIALING, end + timedelta(days=1))
    clock.set(end)
    assert [reason(clocked, user_id, first) for user_id in users] == ["WITHIN_BUDGET", "WITHIN_BUDGET"]
    clock.advance(days=1)
    assert [reason(clocked, user_id, first) for user_id in users] == ["WITHIN_BUDGET", "SUBSCRIPTION_INACTIVE"]
    assert clocked.update_subscription(trials[1].id, status=ACTIVE).status == ACTIVE
    assert reason(clocked, users[1], first) == "WITHIN_BUDGET"


def test_a_cancellation_now_takes_effect_now_and_again_changes_nothing(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5)
    clocked.use_feature(user_id, feature_id, 2)
    [subscription] = clocked.list_subscriptions(user_id)
    ended = clocked.cancel_subscription(subscription.id)
    assert (ended.status, ended.cancel_at.ToDatetime(UTC)) == (CANCELLED, clock.now())
    answer = clocked.can_use(user_id, feature_id)
    assert (answer.reason, answer.consumption.used) == (v1.REASON_SUBSCRIPTION_INACTIVE, 2)
    clock.advance(hours=1)
    assert clocked.cancel_subscription(subscription.id) == ended
    assert clocked.cancel_subscription(subscription.id, at_period_end=True) == ended


def test_a_cancellation_at_the_period_end_takes_effect_at_that_moment(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, MONTH)
    [subscription] = clocked.list_subscriptions(user_id)
    clock.advance(days=40)
    end = clocked.can_use(user_id, feature_id).consumption.resets_at
    ending = clocked.cancel_subscription(subscription.id, at_period_end=True)
    assert (ending.status, ending.cancel_at) == (ACTIVE, end)
    clock.set(end.ToDatetime(UTC) - MILLISECOND)
    assert clocked.use_feature(user_id, feature_id).access
    clock.set(end.ToDatetime(UTC))
    assert reason(clocked, user_id, feature_id) == "SUBSCRIPTION_INACTIVE"
    assert clocked.get_subscription(subscription.id).status == CANCELLED
    assert [past.used for past in clocked.show_usage(user_id, feature_id).past] == [1]


def test_the_period_that_a_cancellation_waits_for_is_the_longest_of_the_package(clocked: Client, clock: Clock) -> None:
    periods = (v1.RESET_PERIOD_DAY, v1.RESET_PERIOD_WEEK, v1.RESET_PERIOD_NEVER, v1.RESET_PERIOD_HOUR)
    entries = [v1.PackageFeature(feature_id=consumable(clocked), limit=1, reset_period=period) for period in periods]
    user_id = clocked.create_user(unique("user")).id
    [subscription] = clocked.subscribe(user_id, [package(clocked, entries)])
    ending = clocked.cancel_subscription(subscription.id, at_period_end=True)
    assert ending.cancel_at.ToDatetime(UTC) == clock.now() + timedelta(weeks=1)
    assert clocked.cancel_subscription(subscription.id).cancel_at.ToDatetime(UTC) == clock.now()


def test_a_trial_is_cancelled_at_the_end_of_the_trial(clocked: Client, clock: Clock) -> None:
    end = clock.now() + timedelta(days=3)
    user_id = clocked.create_user(unique("user")).id
    [trial] = clocked.subscribe(user_id, [limited_package(clocked, consumable(clocked), 5)], trial_end=end)
    assert clocked.cancel_subscription(trial.id, at_period_end=True).cancel_at.ToDatetime(UTC) == end


def test_without_a_period_it_can_only_be_cancelled_now(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, 5, v1.RESET_PERIOD_NEVER)
    [subscription] = client.list_subscriptions(user_id)
    request = v1.CancelSubscriptionRequest(subscription_id=subscription.id, at_period_end=True)
    refused = failure(stubs.subscriptions.CancelSubscription, request)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_PERIOD_END")
    assert refused.metadata == {"subscription_id": subscription.id}
    assert client.can_use(user_id, feature_id).access


def test_a_status_changes_both_ways_and_takes_effect_at_once(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    client.use_feature(user_id, feature_id, 2)
    for status in v1.SubscriptionStatus.values():
        if status not in (v1.SUBSCRIPTION_STATUS_UNSPECIFIED, ACTIVE, TRIALING):
            assert client.update_subscription(subscription.id, status=status).status == status
            assert reason(client, user_id, feature_id) == "SUBSCRIPTION_INACTIVE"
            assert client.update_subscription(subscription.id, status=ACTIVE).status == ACTIVE
            answer = client.can_use(user_id, feature_id)
            assert (answer.access, answer.consumption.used) == (True, 2)


def test_a_cancelled_subscription_can_be_given_back(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5)
    [subscription] = clocked.list_subscriptions(user_id)
    clocked.cancel_subscription(subscription.id)
    clock.advance(days=1)
    back = clocked.update_subscription(subscription.id, status=ACTIVE)
    assert (back.status, back.HasField("cancel_at")) == (ACTIVE, False)
    assert reason(clocked, user_id, feature_id) == "WITHIN_BUDGET"


def test_a_status_that_changes_leaves_a_cancellation_to_come(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_DAY)
    [subscription] = clocked.list_subscriptions(user_id)
    end = clocked.cancel_subscription(subscription.id, at_period_end=True).cancel_at
    clocked.update_subscription(subscription.id, status=PAST_DUE)
    assert clocked.update_subscription(subscription.id, status=ACTIVE).cancel_at == end
    clock.set(end.ToDatetime(UTC))
    assert reason(clocked, user_id, feature_id) == "SUBSCRIPTION_INACTIVE"


def test_usage_carries_over_when_the_base_package_changes_within_the_period(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, MONTH)
    [old] = clocked.list_subscriptions(user_id)
    clocked.use_feature(user_id, feature_id, 4)
    clock.advance(days=3)
    clocked.cancel_subscription(old.id)
    clocked.create_usage_event(user_id, feature_id, 2)
    clocked.subscribe(user_id, [limited_package(clocked, feature_id, 10)])
    counts = clocked.can_use(user_id, feature_id).consumption
    assert (counts.used, counts.budget, counts.remaining) == (6, 10, 4)
    assert clocked.use_feature(user_id, feature_id, 4).access
    assert not clocked.use_feature(user_id, feature_id).access
    assert not clocked.show_usage(user_id, feature_id).past


def test_usage_does_not_carry_over_into_a_later_period(clocked: Client, clock: Clock) -> None:
    for period in (v1.RESET_PERIOD_DAY, MONTH):
        user_id, feature_id = subscriber(clocked, 5, period)
        [old] = clocked.list_subscriptions(user_id)
        clocked.use_feature(user_id, feature_id, 5)
        clock.advance(days=35)
        clocked.cancel_subscription(old.id)
        clocked.subscribe(user_id, [limited_package(clocked, feature_id, 10, period)])
        usage = clocked.show_usage(user_id, feature_id)
        assert (usage.current.used, usage.current.budget) == (0, 10)
        assert [(past.used, past.budget) for past in usage.past] == [(5, 5)]


def test_an_upgrade_can_be_planned_for_the_end_of_the_period(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, MONTH)
    [old] = clocked.list_subscriptions(user_id)
    clocked.use_feature(user_id, feature_id, 5)
    end = clocked.cancel_subscription(old.id, at_period_end=True).cancel_at.ToDatetime(UTC)
    clocked.subscribe(user_id, [limited_package(clocked, feature_id, 10)], started_at=end)
    clock.set(end - MILLISECOND)
    assert reason(clocked, user_id, feature_id) == "BUDGET_EXCEEDED"
    clock.set(end)
    counts = clocked.can_use(user_id, feature_id).consumption
    assert (counts.used, counts.budget, counts.period_start.ToDatetime(UTC)) == (0, 10, end)


def test_no_use_is_lost_or_doubled_while_the_subscription_changes(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, None)
    [subscription] = client.list_subscriptions(user_id)
    add_on = limited_package(client, feature_id, 5, v1.RESET_PERIOD_DAY, v1.PACKAGE_TYPE_ADD_ON)
    request = v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id)
    for _ in range(10):
        calls = [stubs.entitlements.CreateUsageEvent.future(request) for _ in range(20)]
        client.update_subscription(subscription.id, status=PAST_DUE)
        [extra] = client.subscribe(user_id, [add_on])
        calls += [stubs.entitlements.CreateUsageEvent.future(request) for _ in range(20)]
        client.cancel_subscription(extra.id)
        client.update_subscription(subscription.id, status=ACTIVE)
        assert all(call.result().recorded for call in calls)
    usage = client.show_usage(user_id, feature_id)
    assert (usage.current.used, len(usage.past)) == (400, 0)
