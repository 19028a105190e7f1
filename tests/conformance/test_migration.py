"""MigrateSubscriptions: which subscriptions move, and the effect on their counts."""

from datetime import UTC, timedelta

import pytest
from dateutil.relativedelta import relativedelta

from canuse import v1
from support.message_clients import Client
from support.migrations import create_subscriber, migrate, of, publish, versions
from support.resources import Clock, consumable, package, subscriber, unique
from support.store_inspection import StoreInspector

ADD_ON = v1.PACKAGE_TYPE_ADD_ON
DAY, MONTH = v1.RESET_PERIOD_DAY, v1.RESET_PERIOD_MONTH
ENDED = {v1.SUBSCRIPTION_STATUS_CANCELLED, v1.SUBSCRIPTION_STATUS_INCOMPLETE_EXPIRED}
STATUSES = list(v1.SubscriptionStatus.values())[1:]


def test_subscriptions_move_to_the_published_version_and_what_was_used_stays_used(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    [before] = client.list_subscriptions(user_id)
    client.use_feature(user_id, feature_id, 4)
    period = client.can_use(user_id, feature_id).consumption
    assert publish(client, before.package_id, of(feature_id, 7)) == 2
    done = migrate(client, before.package_id)
    assert (done.migrated, done.shrinking_users) == (1, 0)
    assert done.users >= 1

    [after] = client.list_subscriptions(user_id)
    before.package_version = 2
    assert after == before
    counts = client.can_use(user_id, feature_id).consumption
    assert (counts.used, counts.budget, counts.remaining) == (4, 7, 3)
    assert (counts.period_start, counts.resets_at) == (period.period_start, period.resets_at)
    assert not client.show_usage(user_id, feature_id).past
    assert client.use_feature(user_id, feature_id, 3).access
    assert not client.use_feature(user_id, feature_id).access

    assert migrate(client, before.package_id).migrated == 0


def test_the_new_version_s_period_rule_holds_from_the_move_on_counted_from_the_same_start(
    clocked: Client, clock: Clock
) -> None:
    user_id, feature_id = subscriber(clocked, 5, MONTH)
    start = clock.now()
    [subscription] = clocked.list_subscriptions(user_id)
    clocked.use_feature(user_id, feature_id, 4)
    clock.advance(days=3, hours=1)
    publish(clocked, subscription.package_id, of(feature_id, 5, DAY))
    migrate(clocked, subscription.package_id)
    counts = clocked.can_use(user_id, feature_id).consumption
    today = start + timedelta(days=3)
    assert (counts.used, counts.period_start.ToDatetime(UTC)) == (4, today)
    clock.set(today + timedelta(days=1))
    usage = clocked.show_usage(user_id, feature_id)
    assert usage.current.used == 0
    assert [(past.used, past.period_start.ToDatetime(UTC)) for past in usage.past] == [(4, today)]


def test_only_subscriptions_on_the_version_that_is_given_move_and_only_to_the_one_that_is_given(
    client: Client,
) -> None:
    feature_id = consumable(client)
    package_id = package(client, [of(feature_id, 1)])
    people = [create_subscriber(client, package_id)]
    for limit in (2, 3):
        publish(client, package_id, of(feature_id, limit))
        people.append(create_subscriber(client, package_id))
    assert migrate(client, package_id, from_version=1, to_version=2).migrated == 1
    assert [versions(client, user_id) for user_id in people] == [[2], [2], [3]]
    assert migrate(client, package_id).migrated == 2
    assert [versions(client, user_id) for user_id in people] == [[3], [3], [3]]
    back = migrate(client, package_id, to_version=1)
    assert (back.migrated, back.shrinking_users) == (3, 3)
    assert [client.can_use(user_id, feature_id).consumption.budget for user_id in people] == [1, 1, 1]


def test_other_packages_stay_as_they_are_and_several_subscriptions_of_a_user_move_together(client: Client) -> None:
    feature_id = consumable(client)
    base, add_on = package(client, [of(feature_id, 1)]), package(client, [of(feature_id, 2)], ADD_ON)
    user_id = create_subscriber(client, base, add_on)
    client.subscribe(user_id, [add_on])
    for package_id in (base, add_on):
        publish(client, package_id, of(feature_id, 3))
    done = migrate(client, add_on)
    assert (done.migrated, done.shrinking_users) == (2, 0)
    found = {(each.package_id, each.package_version) for each in client.list_subscriptions(user_id)}
    assert found == {(base, 1), (add_on, 2)}


@pytest.mark.parametrize("status", STATUSES, ids=v1.SubscriptionStatus.Name)
def test_a_subscription_of_each_status_moves_but_for_those_that_have_ended(
    clocked: Client, clock: Clock, status: v1.SubscriptionStatus.ValueType
) -> None:
    feature_id = consumable(clocked)
    package_id = package(clocked, [of(feature_id, 1)])
    user_id = create_subscriber(clocked, package_id, trial_end=clock.now() + timedelta(days=1))
    [subscription] = clocked.list_subscriptions(user_id)
    clocked.update_subscription(subscription.id, status=status)
    publish(clocked, package_id, of(feature_id, 2))
    assert migrate(clocked, package_id).migrated == (status not in ENDED)
    [after] = clocked.list_subscriptions(user_id)
    assert (after.package_version, after.status) == (1 if status in ENDED else 2, status)


def test_the_present_status_by_the_dates_decides_what_moves(clocked: Client, clock: Clock) -> None:
    package_id, now = package(clocked, [of(consumable(clocked), 1, DAY)]), clock.now()
    trial_over = create_subscriber(clocked, package_id, trial_end=now + timedelta(hours=1))
    ending, ended, to_come = (
        create_subscriber(clocked, package_id),
        create_subscriber(clocked, package_id),
        unique("user"),
    )
    for user_id in (ending, ended):
        [subscription] = clocked.list_subscriptions(user_id)
        clocked.cancel_subscription(subscription.id, at_period_end=user_id == ending)
    clocked.create_user(to_come)
    clocked.subscribe(to_come, [package_id], started_at=now + timedelta(days=9))
    clock.advance(hours=1)
    publish(clocked, package_id)
    assert migrate(clocked, package_id).migrated == 2
    assert [versions(clocked, user_id) for user_id in (trial_over, ending, ended, to_come)] == [[1], [2], [1], [2]]

    # Reactivated, it is on its old version, and the next migration moves it.
    [subscription] = clocked.list_subscriptions(ended)
    assert clocked.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_ACTIVE).package_version == 1
    assert migrate(clocked, package_id).migrated == 1
    assert versions(clocked, ended) == [2]


def test_a_count_that_has_run_out_by_then_is_over_and_not_moved(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, DAY)
    [subscription] = clocked.list_subscriptions(user_id)
    clocked.use_feature(user_id, feature_id, 4)
    clock.advance(days=2)
    publish(clocked, subscription.package_id, of(feature_id, 9, MONTH))
    assert migrate(clocked, subscription.package_id).migrated == 1
    usage = clocked.show_usage(user_id, feature_id)
    assert (usage.current.used, usage.current.budget) == (0, 9)
    assert [(past.used, past.budget) for past in usage.past] == [(4, 5)]


def test_a_count_of_a_past_month_is_kept_as_that_month_though_the_feature_is_gone(
    clocked: Client, clock: Clock
) -> None:
    user_id, feature_id = subscriber(clocked, 5, MONTH)
    start = clock.now()
    [subscription] = clocked.list_subscriptions(user_id)
    clocked.use_feature(user_id, feature_id, 4)
    clock.advance(days=80)
    publish(clocked, subscription.package_id, of(consumable(clocked), 1))
    assert migrate(clocked, subscription.package_id).migrated == 1
    [past] = clocked.show_usage(user_id, feature_id).past
    assert (past.used, past.period_start.ToDatetime(UTC)) == (4, start)
    assert past.period_end.ToDatetime(UTC) == start + relativedelta(months=1)


def test_a_feature_that_the_new_version_does_not_list_is_gone_and_its_count_becomes_a_past_period(
    client: Client,
) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    other_id = consumable(client)
    client.use_feature(user_id, feature_id, 4)
    publish(client, subscription.package_id, of(other_id, 1))
    done = migrate(client, subscription.package_id)
    assert list(done.shrinking_user_ids) == [user_id]
    assert client.can_use(user_id, feature_id).reason == v1.REASON_NOT_ENTITLED
    assert client.can_use(user_id, other_id).access
    assert [past.used for past in client.show_usage(user_id, feature_id).past] == [4]


def test_what_was_drawn_from_grants_stays_drawn(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    client.create_grant(user_id, "g", feature_id, amount=10)
    client.use_feature(user_id, feature_id, 8)
    publish(client, subscription.package_id, of(feature_id, 7))
    migrate(client, subscription.package_id)
    counts = client.can_use(user_id, feature_id).consumption
    assert (counts.used, counts.budget) == (8, 17)
    [_, grant] = client.show_usage(user_id, feature_id).sources
    assert (grant.grant_id, grant.left) == ("g", 7)


def test_a_dry_run_says_what_would_happen_and_changes_nothing(client: Client, store: StoreInspector) -> None:
    feature_id = consumable(client)
    package_id = package(client, [of(feature_id, 5)])
    people = [create_subscriber(client, package_id) for _ in range(3)]
    client.use_feature(people[0], feature_id, 5)
    publish(client, package_id, of(feature_id, 4))
    before = [store.user(user_id) for user_id in people]
    would = migrate(client, package_id, dry_run=True)
    assert (would.migrated, would.shrinking_users) == (3, 3)
    assert [store.user(user_id) for user_id in people] == before
    did = migrate(client, package_id)
    assert (did.migrated, list(did.shrinking_user_ids)) == (3, sorted(people))
    assert migrate(client, package_id, dry_run=True).migrated == 0


def test_an_archived_package_s_subscriptions_can_be_moved(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    publish(client, subscription.package_id, of(feature_id, 6))
    client.update_package(subscription.package_id, name="never published")
    client.archive_package(subscription.package_id)
    assert migrate(client, subscription.package_id).migrated == 1
    assert versions(client, user_id) == [2]
