"""Packages and features: their life cycle, which package applies, and one base package per user at a time."""

from datetime import UTC, timedelta

import grpc

from canuse import v1
from support.message_clients import Client
from support.resources import Clock, binary, consumable, package, subscriber, unique
from support.wire import Stubs, failure

ADD_ON, BASE = v1.PACKAGE_TYPE_ADD_ON, v1.PACKAGE_TYPE_BASE
DAY, MONTH, NEVER = v1.RESET_PERIOD_DAY, v1.RESET_PERIOD_MONTH, v1.RESET_PERIOD_NEVER


def of(
    feature_id: str, limit: int | None, period: v1.ResetPeriod.ValueType = MONTH, *, overage: bool = False
) -> list[v1.PackageFeature]:
    """Return the features of a package with a single one."""
    return [v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=period, overage_enabled=overage)]


def subscribe(user_id: str, *package_ids: str, **start: object) -> v1.SubscribeRequest:
    """Return a request to subscribe."""
    return v1.SubscribeRequest(user_id=user_id, package_ids=package_ids, **start)  # type: ignore[arg-type]


def test_a_draft_cannot_be_subscribed_to(client: Client, stubs: Stubs) -> None:
    user_id, package_id = client.create_user(unique("user")).id, unique("package")
    draft = client.create_package(package_id, of(consumable(client), 5))
    assert (draft.status, draft.version) == (v1.PACKAGE_STATUS_DRAFT, 1)
    refused = failure(stubs.subscriptions.Subscribe, subscribe(user_id, package_id))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PACKAGE_NOT_PUBLISHED")
    assert refused.metadata == {"package_id": package_id}
    client.publish_package(package_id)
    assert len(client.subscribe(user_id, [package_id])) == 1


def test_an_archived_package_takes_no_new_subscribers_and_keeps_those_it_has(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    package_id, other_id = subscription.package_id, client.create_user(unique("user")).id
    archived = client.archive_package(package_id)
    assert archived.status == v1.PACKAGE_STATUS_ARCHIVED
    assert client.archive_package(package_id) == archived
    refused = failure(stubs.subscriptions.Subscribe, subscribe(other_id, package_id))
    assert (refused.reason, refused.metadata) == ("PACKAGE_NOT_PUBLISHED", {"package_id": package_id})
    assert client.use_feature(user_id, feature_id, 5).access
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_PAST_DUE)
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_ACTIVE)
    assert client.can_use(user_id, feature_id).consumption.used == 5
    refused = failure(stubs.catalog.PublishPackage, v1.PublishPackageRequest(package_id=package_id))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PACKAGE_ARCHIVED")
    request = v1.UpdatePackageRequest(package=v1.Package(id=package_id, name="a"))
    refused = failure(stubs.catalog.UpdatePackage, request)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PACKAGE_ARCHIVED")
    assert refused.metadata == {"package_id": package_id}


def test_a_draft_that_is_archived_can_be_neither_published_nor_subscribed_to(client: Client, stubs: Stubs) -> None:
    user_id, package_id = client.create_user(unique("user")).id, unique("package")
    client.create_package(package_id)
    client.archive_package(package_id)
    refused = failure(stubs.catalog.PublishPackage, v1.PublishPackageRequest(package_id=package_id))
    assert refused.reason == "PACKAGE_ARCHIVED"
    assert failure(stubs.subscriptions.Subscribe, subscribe(user_id, package_id)).reason == "PACKAGE_NOT_PUBLISHED"


def test_a_package_that_is_archived_and_published_at_once_ends_archived(client: Client, stubs: Stubs) -> None:
    for _ in range(20):
        package_id = client.create_package(unique("package")).id
        publishing = stubs.catalog.PublishPackage.future(v1.PublishPackageRequest(package_id=package_id))
        archiving = stubs.catalog.ArchivePackage.future(v1.ArchivePackageRequest(package_id=package_id))
        assert archiving.code() == grpc.StatusCode.OK
        assert publishing.code() in (grpc.StatusCode.OK, grpc.StatusCode.FAILED_PRECONDITION)
        assert client.get_package(package_id).status == v1.PACKAGE_STATUS_ARCHIVED


def test_subscribers_get_the_draft_as_it_was_published(client: Client) -> None:
    feature_id, other_id, package_id = consumable(client), consumable(client), unique("package")
    client.create_package(package_id, of(feature_id, 1))
    client.update_package(package_id, features=[*of(feature_id, 3), *of(other_id, 7)])
    client.publish_package(package_id)
    user_id = client.create_user(unique("user")).id
    client.subscribe(user_id, [package_id])
    budgets = {each.feature_id: each.consumption.budget for each in client.list_entitlements(user_id)}
    assert budgets == {feature_id: 3, other_id: 7}


def test_the_highest_limit_wins_with_its_period_and_overage(client: Client) -> None:
    feature_id = consumable(client)
    packages = {
        "base": package(client, of(feature_id, 10, MONTH)),
        "low": package(client, of(feature_id, 3, DAY, overage=True), ADD_ON),
        "high": package(client, of(feature_id, 20, NEVER, overage=True), ADD_ON),
        "unlimited": package(client, of(feature_id, None, DAY), ADD_ON),
    }
    for names, budget, resets, overage in (
        (["base"], 10, True, False),
        (["low", "base"], 10, True, False),
        (["base", "low", "high"], 20, False, True),
        (["unlimited", "high", "base", "low"], None, True, False),
    ):
        user_id = client.create_user(unique("user")).id
        subscriptions = client.subscribe(user_id, [packages[name] for name in names])
        counts = client.can_use(user_id, feature_id).consumption
        assert (counts.budget if counts.HasField("budget") else None) == budget
        assert (counts.HasField("resets_at"), counts.overage_enabled) == (resets, overage)
        [entitlement] = client.list_entitlements(user_id)
        assert sorted(entitlement.subscription_ids) == sorted(each.id for each in subscriptions)


def test_the_highest_limit_of_those_that_count_now_wins(clocked: Client, clock: Clock) -> None:
    feature_id, user_id = consumable(clocked), clocked.create_user(unique("user")).id
    clocked.subscribe(user_id, [package(clocked, of(feature_id, 10))])
    add_on, end = package(clocked, of(feature_id, 20), ADD_ON), clock.now() + timedelta(days=2)
    [extra] = clocked.subscribe(user_id, [add_on], trial_end=end)
    assert clocked.use_feature(user_id, feature_id, 15).access
    clocked.update_subscription(extra.id, status=v1.SUBSCRIPTION_STATUS_PAST_DUE)
    counts = clocked.can_use(user_id, feature_id).consumption
    assert (counts.used, counts.budget, counts.remaining) == (15, 10, 0)
    clocked.update_subscription(extra.id, status=v1.SUBSCRIPTION_STATUS_TRIALING)
    assert clocked.can_use(user_id, feature_id, 5).access
    clock.set(end)
    counts = clocked.can_use(user_id, feature_id).consumption
    assert (counts.used, counts.budget, counts.resets_at.ToDatetime(UTC) > end) == (15, 10, True)


def test_an_add_on_gives_what_the_base_package_does_not_list(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    switch_id, other_id = binary(client), consumable(client)
    entries = [v1.PackageFeature(feature_id=switch_id), *of(other_id, 2)]
    client.subscribe(user_id, [package(client, entries, ADD_ON)])
    assert [client.can_use(user_id, each).access for each in (feature_id, switch_id, other_id)] == [True, True, True]


def test_a_second_base_package_is_refused_and_changes_nothing(client: Client, stubs: Stubs) -> None:
    user_id, _ = subscriber(client, 5)
    before = list(client.list_subscriptions(user_id))
    base, add_on = (package(client, of(consumable(client), 5), kind) for kind in (BASE, ADD_ON))
    for package_ids in ([base], [add_on, base], [before[0].package_id]):
        refused = failure(stubs.subscriptions.Subscribe, subscribe(user_id, *package_ids))
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SECOND_BASE_PACKAGE")
        assert refused.metadata == {"user_id": user_id, "subscription_id": before[0].id}
        in_the_way = f"subscription '{before[0].id}' to package '{before[0].package_id}' is in the way"
        assert f"{in_the_way}; ChangePackage replaces it" in refused.message
        assert list(client.list_subscriptions(user_id)) == before
    assert len(client.subscribe(user_id, [add_on])) == 1
    assert len(client.subscribe(user_id, [add_on])) == 1


def test_two_base_packages_in_one_call_are_refused_and_none_is_made(client: Client, stubs: Stubs) -> None:
    user_id = client.create_user(unique("user")).id
    package_ids = [package(client, []), package(client, [], ADD_ON), package(client, [])]
    refused = failure(stubs.subscriptions.Subscribe, subscribe(user_id, *package_ids))
    assert (refused.reason, refused.metadata) == ("SECOND_BASE_PACKAGE", {"user_id": user_id})
    assert all(f"'{each}'" in refused.message for each in package_ids[::2])
    missing = unique("missing")
    refused = failure(stubs.subscriptions.Subscribe, subscribe(user_id, *package_ids[:2], missing))
    assert (refused.reason, refused.metadata) == ("PACKAGE_NOT_FOUND", {"package_id": missing})
    assert not list(client.list_subscriptions(user_id))


def test_base_packages_may_follow_each_other_but_not_overlap(
    clocked: Client, clocked_stubs: Stubs, clock: Clock
) -> None:
    user_id, feature_id = subscriber(clocked, 5, DAY)
    [first] = clocked.list_subscriptions(user_id)
    other = package(clocked, of(feature_id, 9, DAY))
    end = clock.now() + timedelta(days=1)
    future = subscribe(user_id, other)
    future.started_at.FromDatetime(end)
    assert failure(clocked_stubs.subscriptions.Subscribe, future).reason == "SECOND_BASE_PACKAGE"

    clocked.cancel_subscription(first.id, at_period_end=True)
    future.started_at.FromDatetime(end - timedelta(milliseconds=1))
    assert failure(clocked_stubs.subscriptions.Subscribe, future).reason == "SECOND_BASE_PACKAGE"
    [second] = clocked.subscribe(user_id, [other], started_at=end)
    now = subscribe(user_id, other)
    assert failure(clocked_stubs.subscriptions.Subscribe, now).reason == "SECOND_BASE_PACKAGE"
    clock.set(end)
    assert clocked.use_feature(user_id, feature_id, 9).access

    back = v1.Subscription(id=first.id, status=v1.SUBSCRIPTION_STATUS_ACTIVE)
    update = v1.UpdateSubscriptionRequest(subscription=back)
    refused = failure(clocked_stubs.subscriptions.UpdateSubscription, update)
    assert (refused.reason, refused.metadata["subscription_id"]) == ("SECOND_BASE_PACKAGE", second.id)
    clocked.cancel_subscription(second.id)
    assert clocked.update_subscription(first.id, status=v1.SUBSCRIPTION_STATUS_ACTIVE).status == back.status
    assert clocked.can_use(user_id, feature_id).consumption.budget == 5


def test_a_base_package_after_one_that_has_ended_is_fine(clocked: Client, clock: Clock) -> None:
    feature_id, user_id = consumable(clocked), clocked.create_user(unique("user")).id
    package_id, end = package(clocked, of(feature_id, 5)), clock.now() + timedelta(days=1)
    clocked.subscribe(user_id, [package_id], trial_end=end)
    clocked.subscribe(user_id, [package_id], started_at=end, trial_end=end + timedelta(days=1))
    clock.advance(days=5)
    [third] = clocked.subscribe(user_id, [package_id])
    clocked.cancel_subscription(third.id)
    [fourth] = clocked.subscribe(user_id, [package_id], status=v1.SUBSCRIPTION_STATUS_INCOMPLETE)
    clocked.update_subscription(fourth.id, status=v1.SUBSCRIPTION_STATUS_INCOMPLETE_EXPIRED)
    clocked.subscribe(user_id, [package_id])
    assert clocked.can_use(user_id, feature_id).access


def test_callers_at_once_make_one_base_subscription(client: Client, stubs: Stubs) -> None:
    user_id, package_id = client.create_user(unique("user")).id, package(client, [])
    calls = [stubs.subscriptions.Subscribe.future(subscribe(user_id, package_id)) for _ in range(20)]
    codes = [call.code() for call in calls]
    assert codes.count(grpc.StatusCode.OK) == 1
    assert codes.count(grpc.StatusCode.FAILED_PRECONDITION) == 19
    assert len(list(client.list_subscriptions(user_id))) == 1
