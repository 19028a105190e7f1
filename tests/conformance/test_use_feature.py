"""UseFeature: check and record in one step, so that access is granted exactly when the use was counted."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import grpc
import pytest

from canuse import v1
from support.message_clients import Client
from support.resources import Clock, binary, consumable, package, subscriber, unique
from support.wire import Stubs, failure


def summary(response: v1.UseFeatureResponse) -> tuple[bool, str, int]:
    """Return access, reason and total."""
    return response.access, v1.Reason.Name(response.reason).removeprefix("REASON_"), response.consumption.used


def used(client: Client, user_id: str, feature_id: str) -> int:
    """Return the count."""
    return client.show_usage(user_id, feature_id).current.used


def test_an_amount_is_given_whole_or_not_at_all(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    given = client.use_feature(user_id, feature_id, 3)
    assert summary(given) == (True, "WITHIN_BUDGET", 3)
    assert (given.consumption.budget, given.consumption.remaining) == (5, 2)
    refused = client.use_feature(user_id, feature_id, 3)
    assert summary(refused) == (False, "BUDGET_EXCEEDED", 3)
    assert refused.consumption.remaining == 2
    assert used(client, user_id, feature_id) == 3
    assert summary(client.use_feature(user_id, feature_id, 2)) == (True, "WITHIN_BUDGET", 5)


def test_the_amount_is_one_unless_it_is_given(stubs: Stubs, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    request = v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id)
    assert summary(stubs.entitlements.UseFeature(request)) == (True, "WITHIN_BUDGET", 1)


def test_a_use_without_a_limit_or_into_overage_is_given(client: Client) -> None:
    assert summary(client.use_feature(*subscriber(client, None), 9)) == (True, "UNLIMITED", 9)
    user_id, feature_id = subscriber(client, 5, overage_enabled=True)
    assert summary(client.use_feature(user_id, feature_id, 5)) == (True, "WITHIN_BUDGET", 5)
    assert summary(client.use_feature(user_id, feature_id, 2)) == (True, "OVERAGE", 7)


def test_a_use_that_is_given_has_an_event_id_and_one_that_is_refused_has_none(client: Client) -> None:
    user_id, feature_id = subscriber(client, 2)
    first, second = client.use_feature(user_id, feature_id), client.use_feature(user_id, feature_id)
    assert first.event_id
    assert second.event_id
    assert first.event_id != second.event_id
    assert client.use_feature(user_id, feature_id).event_id == ""


def test_each_refusal_counts_nothing(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    client.create_usage_event(user_id, feature_id, 1)

    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_UNPAID)
    assert summary(client.use_feature(user_id, feature_id)) == (False, "SUBSCRIPTION_INACTIVE", 1)
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_ACTIVE)

    client.update_user(user_id, disabled=True)
    assert summary(client.use_feature(user_id, feature_id)) == (False, "USER_DISABLED", 1)
    client.update_user(user_id, disabled=False)

    assert summary(client.use_feature(user_id, feature_id)) == (True, "WITHIN_BUDGET", 2)
    client.archive_feature(feature_id)
    assert summary(client.use_feature(user_id, feature_id)) == (False, "FEATURE_ARCHIVED", 2)
    assert used(client, user_id, feature_id) == 2


def test_without_an_entitlement_it_is_refused_and_has_no_counts(client: Client) -> None:
    user_id, feature_id = client.create_user(unique("user")).id, consumable(client)
    response = client.use_feature(user_id, feature_id)
    assert summary(response) == (False, "NOT_ENTITLED", 0)
    assert not response.HasField("consumption")
    assert (response.event_id, response.replayed) == ("", False)


def test_callers_at_once_get_exactly_the_budget(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, 5)
    request = v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id)
    calls = [stubs.entitlements.UseFeature.future(request) for _ in range(100)]
    answers = [call.result() for call in calls]
    assert sorted(answer.consumption.used for answer in answers if answer.access) == [1, 2, 3, 4, 5]
    assert {summary(answer) for answer in answers if not answer.access} == {(False, "BUDGET_EXCEEDED", 5)}
    assert used(client, user_id, feature_id) == 5


def test_callers_at_once_with_different_amounts_never_pass_the_budget(client: Client) -> None:
    user_id, feature_id = subscriber(client, 50)
    with ThreadPoolExecutor(16) as pool:
        amounts = [number % 7 + 1 for number in range(60)]
        answers = list(pool.map(lambda amount: client.use_feature(user_id, feature_id, amount), amounts))
    given = sum(amount for amount, answer in zip(amounts, answers, strict=True) if answer.access)
    assert given == used(client, user_id, feature_id) == 50


def test_callers_at_once_right_after_a_calendar_period_get_exactly_the_new_budget(
    clocked: Client, clocked_stubs: Stubs, clock: Clock
) -> None:
    user_id, feature_id = subscriber(clocked, 5)
    assert clocked.use_feature(user_id, feature_id, 4).access
    clock.set(clock.now() + timedelta(days=32))
    request = v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id)
    calls = [clocked_stubs.entitlements.UseFeature.future(request) for _ in range(40)]
    assert sum(call.result().access for call in calls) == 5
    usage = clocked.show_usage(user_id, feature_id)
    assert (usage.current.used, [past.used for past in usage.past]) == (5, [4])


@pytest.mark.parametrize("delta", [0, -1, -(2**53) + 1, 2**53, 2**63 - 1])
def test_an_amount_below_one_or_too_large_is_refused_and_counts_nothing(
    stubs: Stubs, client: Client, delta: int
) -> None:
    user_id, feature_id = subscriber(client, None)
    request = v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id, delta=delta)
    refused = failure(stubs.entitlements.UseFeature, request)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert refused.violations == {"delta": f"must be 1 to 2^53 - 1; {delta} was sent"}
    assert used(client, user_id, feature_id) == 0


def test_a_binary_feature_is_not_used(stubs: Stubs, client: Client) -> None:
    feature_id, user_id = binary(client), unique("user")
    client.create_user(user_id)
    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=feature_id)])])
    refused = failure(stubs.entitlements.UseFeature, v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FEATURE_NOT_CONSUMABLE")
    assert refused.metadata == {"feature_id": feature_id}
    usage = failure(stubs.usage.ShowUsage, v1.ShowUsageRequest(user_id=user_id, feature_id=feature_id))
    assert (usage.code, usage.reason) == (refused.code, refused.reason)


def test_an_unknown_user_or_feature_is_an_error(stubs: Stubs, client: Client) -> None:
    user_id, feature_id, missing = *subscriber(client, 5), unique("missing")
    use = stubs.entitlements.UseFeature
    no_user = failure(use, v1.UseFeatureRequest(user_id=missing, feature_id=feature_id))
    no_feature = failure(use, v1.UseFeatureRequest(user_id=user_id, feature_id=missing))
    assert (no_user.code, no_user.reason) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")
    assert no_user.metadata == {"user_id": missing}
    assert (no_feature.code, no_feature.reason) == (grpc.StatusCode.NOT_FOUND, "FEATURE_NOT_FOUND")
    assert no_feature.metadata == {"feature_id": missing}
