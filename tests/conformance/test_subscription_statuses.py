"""The seven statuses together with other subscriptions: the access each gives, and the subscriptions each prevents."""

from datetime import UTC, timedelta

import grpc
import pytest
from dateutil.relativedelta import relativedelta

from canuse import v1
from support.message_clients import Client
from support.migrations import create_subscriber, of
from support.resources import Clock, consumable, package, subscriber
from support.wire import Stubs, failure

ADD_ON = v1.PACKAGE_TYPE_ADD_ON
DAY, MONTH = v1.RESET_PERIOD_DAY, v1.RESET_PERIOD_MONTH
ACTIVE, TRIALING = v1.SUBSCRIPTION_STATUS_ACTIVE, v1.SUBSCRIPTION_STATUS_TRIALING
ENDED = {v1.SUBSCRIPTION_STATUS_CANCELLED, v1.SUBSCRIPTION_STATUS_INCOMPLETE_EXPIRED}
every_status = pytest.mark.parametrize(
    "status", list(v1.SubscriptionStatus.values())[1:], ids=v1.SubscriptionStatus.Name
)


@every_status
def test_a_subscription_is_made_with_each_status_and_only_two_give_access(
    clocked: Client, clock: Clock, status: v1.SubscriptionStatus.ValueType
) -> None:
    feature_id = consumable(clocked)
    trial_end = clock.now() + timedelta(days=1) if status == TRIALING else None
    user_id = create_subscriber(clocked, package(clocked, [of(feature_id, 5)]), status=status, trial_end=trial_end)
    [subscription] = clocked.list_subscriptions(user_id)
    assert subscription.status == status
    answer = clocked.use_feature(user_id, feature_id)
    expected = v1.REASON_WITHIN_BUDGET if status in (ACTIVE, TRIALING) else v1.REASON_SUBSCRIPTION_INACTIVE
    assert (answer.access, answer.reason) == (status in (ACTIVE, TRIALING), expected)
    clock.advance(days=1)
    assert clocked.can_use(user_id, feature_id).access == (status == ACTIVE)


@every_status
def test_a_base_package_stands_in_the_way_of_another_until_it_has_ended(
    clocked: Client, clocked_stubs: Stubs, clock: Clock, status: v1.SubscriptionStatus.ValueType
) -> None:
    base, other = package(clocked, []), package(clocked, [])
    user_id = create_subscriber(clocked, base, trial_end=clock.now() + timedelta(days=1))
    [subscription] = clocked.list_subscriptions(user_id)
    clocked.update_subscription(subscription.id, status=status)
    request = v1.SubscribeRequest(user_id=user_id, package_ids=[other])
    if status in ENDED:
        assert len(clocked_stubs.subscriptions.Subscribe(request).subscriptions) == 1
        return
    refused = failure(clocked_stubs.subscriptions.Subscribe, request)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SECOND_BASE_PACKAGE")
    # A trial that has ended by itself does not prevent another base package; one that is past due does.
    clock.advance(days=1)
    if status == TRIALING:
        assert len(clocked_stubs.subscriptions.Subscribe(request).subscriptions) == 1
    else:
        assert failure(clocked_stubs.subscriptions.Subscribe, request).reason == "SECOND_BASE_PACKAGE"


@every_status
def test_a_base_package_counts_whatever_the_status_of_an_add_on(
    clocked: Client, clock: Clock, status: v1.SubscriptionStatus.ValueType
) -> None:
    user_id, feature_id = subscriber(clocked, 5)
    add_on, trial_end = package(clocked, [of(feature_id, 9)], ADD_ON), clock.now() + timedelta(days=1)
    clocked.subscribe(user_id, [add_on], status=status, trial_end=trial_end)
    counts = clocked.can_use(user_id, feature_id).consumption
    assert counts.budget == (9 if status in (ACTIVE, TRIALING) else 5)


@pytest.mark.parametrize("ending", ["now", "at its period's end", "by a date", "with its trial"])
def test_an_add_on_that_ends_takes_away_only_what_it_gave(clocked: Client, clock: Clock, ending: str) -> None:
    user_id, feature_id = subscriber(clocked, 5, MONTH)
    extra_id, start = consumable(clocked), clock.now()
    end = start + timedelta(hours=1)
    add_on = package(clocked, [of(feature_id, 20, DAY), of(extra_id, 3, DAY)], ADD_ON)
    [extra] = clocked.subscribe(user_id, [add_on], trial_end=end if ending == "with its trial" else None)
    assert clocked.use_feature(user_id, feature_id, 8).consumption.budget == 20
    assert clocked.use_feature(user_id, extra_id, 2).access
    if ending == "at its period's end":
        end = clocked.cancel_subscription(extra.id, at_period_end=True).cancel_at.ToDatetime(UTC)
        assert end == start + timedelta(days=1)
    elif ending == "by a date":
        clocked.update_subscription(extra.id, cancel_at=end)
    clock.set(end)
    if ending == "now":
        clocked.cancel_subscription(extra.id)

    # The count continues, unless its period has ended.
    goes_on = ending != "at its period's end"
    counts = clocked.can_use(user_id, feature_id).consumption
    assert (counts.used, counts.budget) == (8 if goes_on else 0, 5)
    assert counts.resets_at.ToDatetime(UTC) == start + relativedelta(months=1)
    assert clocked.can_use(user_id, feature_id).access != goes_on
    assert clocked.can_use(user_id, extra_id).reason == v1.REASON_SUBSCRIPTION_INACTIVE
    assert {each.id: each.status for each in clocked.list_subscriptions(user_id)}[extra.id] in ENDED


def test_an_add_on_goes_on_when_the_base_package_is_cancelled(clocked: Client) -> None:
    user_id, feature_id = subscriber(clocked, 5)
    [base] = clocked.list_subscriptions(user_id)
    extra_id = consumable(clocked)
    clocked.subscribe(user_id, [package(clocked, [of(feature_id, 2), of(extra_id, 3)], ADD_ON)])
    clocked.use_feature(user_id, feature_id)
    clocked.cancel_subscription(base.id)
    counts = clocked.can_use(user_id, feature_id).consumption
    assert (counts.used, counts.budget) == (1, 2)
    assert clocked.can_use(user_id, extra_id).access
