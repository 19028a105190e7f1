"""CanUse: every possible answer, what it is based on, and that it changes nothing."""

from datetime import timedelta

import grpc
import pytest

from canuse import v1
from support.message_clients import Client
from support.resources import Clock, binary, consumable, package, subscriber, unique
from support.store_inspection import StoreInspector
from support.wire import Stubs, failure

INACTIVE = (
    v1.SUBSCRIPTION_STATUS_CANCELLED,
    v1.SUBSCRIPTION_STATUS_PAST_DUE,
    v1.SUBSCRIPTION_STATUS_UNPAID,
    v1.SUBSCRIPTION_STATUS_INCOMPLETE,
    v1.SUBSCRIPTION_STATUS_INCOMPLETE_EXPIRED,
)


def answer(response: v1.CanUseResponse) -> tuple[bool, str]:
    """Return the essential fields of an answer."""
    return response.access, v1.Reason.Name(response.reason).removeprefix("REASON_")


def test_a_binary_feature_of_the_package_is_included_and_has_no_counts(client: Client) -> None:
    feature_id, user_id = binary(client), unique("user")
    client.create_user(user_id)
    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=feature_id)])])
    response = client.can_use(user_id, feature_id)
    assert answer(response) == (True, "INCLUDED")
    assert not response.HasField("consumption")
    assert response.source == v1.SOURCE_STORE


def test_an_amount_up_to_the_budget_is_within_it_and_one_more_exceeds_it(client: Client) -> None:
    user_id, feature_id = subscriber(client, 10)
    client.create_usage_event(user_id, feature_id, 4)
    last, over = client.can_use(user_id, feature_id, 6), client.can_use(user_id, feature_id, 7)
    assert (answer(last), answer(over)) == ((True, "WITHIN_BUDGET"), (False, "BUDGET_EXCEEDED"))
    for response in (last, over):
        counts = response.consumption
        assert (counts.used, counts.budget, counts.remaining, counts.reserved) == (4, 10, 6, 0)
        assert not counts.overage_enabled
        assert counts.period_start.ToMilliseconds() < counts.resets_at.ToMilliseconds()
        assert response.source == v1.SOURCE_STORE


def test_the_amount_is_one_unless_it_is_given(stubs: Stubs, client: Client) -> None:
    user_id, feature_id = subscriber(client, 1)
    request = v1.CanUseRequest(user_id=user_id, feature_id=feature_id)
    assert stubs.entitlements.CanUse(request).access
    client.create_usage_event(user_id, feature_id)
    assert answer(stubs.entitlements.CanUse(request)) == (False, "BUDGET_EXCEEDED")


def test_a_limit_of_zero_lets_nothing_through(client: Client) -> None:
    response = client.can_use(*subscriber(client, 0))
    assert answer(response) == (False, "BUDGET_EXCEEDED")
    assert response.consumption.HasField("budget")
    assert (response.consumption.budget, response.consumption.remaining) == (0, 0)


def test_without_a_limit_it_is_unlimited_and_has_neither_budget_nor_remaining(client: Client) -> None:
    user_id, feature_id = subscriber(client, None)
    client.create_usage_event(user_id, feature_id, 1000)
    response = client.can_use(user_id, feature_id, 10**6)
    assert answer(response) == (True, "UNLIMITED")
    assert response.consumption.used == 1000
    assert not response.consumption.HasField("budget")
    assert not response.consumption.HasField("remaining")


def test_beyond_the_limit_is_overage_where_the_package_allows_it(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5, overage_enabled=True)
    assert answer(client.can_use(user_id, feature_id, 5)) == (True, "WITHIN_BUDGET")
    client.create_usage_event(user_id, feature_id, 7)
    response = client.can_use(user_id, feature_id)
    assert answer(response) == (True, "OVERAGE")
    assert response.consumption.overage_enabled
    assert (response.consumption.used, response.consumption.budget, response.consumption.remaining) == (7, 5, 0)


def test_a_feature_that_no_subscription_lists_is_not_entitled_and_has_no_counts(client: Client) -> None:
    user_id, _ = subscriber(client, 5)
    for feature_id in (consumable(client), binary(client)):
        response = client.can_use(user_id, feature_id)
        assert answer(response) == (False, "NOT_ENTITLED")
        assert not response.HasField("consumption")


def test_a_user_without_subscriptions_is_not_entitled(client: Client) -> None:
    user_id = client.create_user(unique("user")).id
    assert answer(client.can_use(user_id, consumable(client))) == (False, "NOT_ENTITLED")


@pytest.mark.parametrize("status", INACTIVE, ids=v1.SubscriptionStatus.Name)
def test_a_subscription_that_does_not_count_is_inactive_and_still_shows_counts(
    client: Client, status: v1.SubscriptionStatus.ValueType
) -> None:
    feature_id, switch_id, user_id = consumable(client), binary(client), unique("user")
    entries = [v1.PackageFeature(feature_id=feature_id, limit=5), v1.PackageFeature(feature_id=switch_id)]
    client.create_user(user_id)
    client.subscribe(user_id, [package(client, entries)], status=status)
    response = client.can_use(user_id, feature_id)
    assert answer(response) == (False, "SUBSCRIPTION_INACTIVE")
    assert (response.consumption.used, response.consumption.budget) == (0, 5)
    assert answer(client.can_use(user_id, switch_id)) == (False, "SUBSCRIPTION_INACTIVE")


def test_an_archived_feature_is_refused_to_all_and_at_once(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    nobody = client.create_user(unique("user")).id
    assert client.can_use(user_id, feature_id).access
    client.archive_feature(feature_id)
    response = client.can_use(user_id, feature_id)
    assert answer(response) == (False, "FEATURE_ARCHIVED")
    assert response.consumption.budget == 5
    assert answer(client.can_use(nobody, feature_id)) == (False, "FEATURE_ARCHIVED")


def test_a_disabled_user_is_refused_everything_until_enabled_again(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    client.create_usage_event(user_id, feature_id, 2)
    client.update_user(user_id, disabled=True)
    response = client.can_use(user_id, feature_id)
    assert answer(response) == (False, "USER_DISABLED")
    assert response.consumption.used == 2
    assert answer(client.can_use(user_id, consumable(client))) == (False, "USER_DISABLED")
    client.update_user(user_id, disabled=False)
    assert client.can_use(user_id, feature_id, 3).access


def test_each_listed_entitlement_agrees_with_a_check_of_one_unit(client: Client) -> None:
    full, open_ended, over, archived = (consumable(client) for _ in range(4))
    base = [
        v1.PackageFeature(feature_id=full, limit=3, reset_period=v1.RESET_PERIOD_DAY),
        v1.PackageFeature(feature_id=open_ended, reset_period=v1.RESET_PERIOD_MONTH),
        v1.PackageFeature(feature_id=over, limit=1, overage_enabled=True),
        v1.PackageFeature(feature_id=archived, limit=1),
        v1.PackageFeature(feature_id=binary(client)),
    ]
    user_id = client.create_user(unique("user")).id
    client.subscribe(user_id, [package(client, base)])
    late = package(client, [v1.PackageFeature(feature_id=consumable(client), limit=1)], v1.PACKAGE_TYPE_ADD_ON)
    client.subscribe(user_id, [late], status=v1.SUBSCRIPTION_STATUS_PAST_DUE)
    for feature_id in (full, open_ended, over):
        client.create_usage_event(user_id, feature_id, 3)
    client.archive_feature(archived)
    for reasons in (
        {"BUDGET_EXCEEDED", "UNLIMITED", "OVERAGE", "FEATURE_ARCHIVED", "INCLUDED", "SUBSCRIPTION_INACTIVE"},
        {"USER_DISABLED"},
    ):
        entitlements = list(client.list_entitlements(user_id))
        assert len(entitlements) == 6
        assert {v1.Reason.Name(each.reason).removeprefix("REASON_") for each in entitlements} == reasons
        for each in entitlements:
            checked = client.can_use(user_id, each.feature_id)
            assert (each.access, each.reason) == (checked.access, checked.reason)
            assert each.HasField("consumption") == checked.HasField("consumption")
            assert each.consumption == checked.consumption
        client.update_user(user_id, disabled=True)


def test_an_unknown_user_or_feature_is_an_error_that_names_it_and_no_refusal(stubs: Stubs, client: Client) -> None:
    user_id, feature_id, missing = *subscriber(client, 5), unique("missing")
    can_use = stubs.entitlements.CanUse
    no_user = failure(can_use, v1.CanUseRequest(user_id=missing, feature_id=feature_id))
    assert (no_user.code, no_user.reason) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")
    assert no_user.metadata == {"user_id": missing}
    no_feature = failure(can_use, v1.CanUseRequest(user_id=user_id, feature_id=missing))
    assert (no_feature.code, no_feature.reason) == (grpc.StatusCode.NOT_FOUND, "FEATURE_NOT_FOUND")
    assert no_feature.metadata == {"feature_id": missing}
    assert missing in no_user.message
    assert missing in no_feature.message


def test_a_check_writes_nothing(client: Client, store: StoreInspector) -> None:
    user_id, feature_id = subscriber(client, 5)
    before = store.dump(user_id)
    for _ in range(10):
        client.can_use(user_id, feature_id, 5)
    assert store.dump(user_id) == before
    assert client.show_usage(user_id, feature_id).current.used == 0


def test_checks_one_after_another_share_a_connection_to_the_store(client: Client, store: StoreInspector) -> None:
    # The check for a closed connection once considered each idle one closed, after waiting a second for it.
    user_id, feature_id = subscriber(client, 50)
    before = store.connections()
    for _ in range(6):
        client.can_use(user_id, feature_id)
        client.create_usage_event(user_id, feature_id)
    assert store.connections() - before < 6


def test_a_check_after_the_period_reads_zero_without_a_record_in_between(clocked: Client, clock: Clock) -> None:
    for period in (v1.RESET_PERIOD_HOUR, v1.RESET_PERIOD_MONTH):
        user_id, feature_id = subscriber(clocked, 1, period)
        assert clocked.use_feature(user_id, feature_id).access
        full = clocked.can_use(user_id, feature_id)
        assert answer(full) == (False, "BUDGET_EXCEEDED")
        clock.set(clock.now() + timedelta(days=32))
        response = clocked.can_use(user_id, feature_id)
        assert answer(response) == (True, "WITHIN_BUDGET")
        assert response.consumption.used == 0
        assert response.consumption.period_start.ToMilliseconds() >= full.consumption.resets_at.ToMilliseconds()
