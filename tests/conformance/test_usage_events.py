"""CreateUsageEvent: a use that happened is recorded, also beyond the budget, and the answer says what was counted."""

import grpc
import pytest

from canuse import v1
from support.message_clients import Client
from support.resources import binary, consumable, package, subscriber, unique
from support.store_inspection import StoreInspector
from support.wire import Stubs, failure

SET = v1.USAGE_ACTION_SET


def summary(response: v1.CreateUsageEventResponse) -> tuple[bool, str, int, int]:
    """Return recorded, reason, applied delta and total."""
    reason = v1.Reason.Name(response.reason).removeprefix("REASON_")
    return response.recorded, reason, response.applied_delta, response.consumption.used


def test_a_use_is_added_one_by_default(stubs: Stubs, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    request = v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id)
    response = stubs.entitlements.CreateUsageEvent(request)
    assert summary(response) == (True, "WITHIN_BUDGET", 1, 1)
    assert (response.consumption.budget, response.consumption.remaining) == (5, 4)
    assert response.consumption.HasField("resets_at")
    assert response.event_id
    assert not response.replayed
    request.action = v1.USAGE_ACTION_ADD
    assert summary(stubs.entitlements.CreateUsageEvent(request)) == (True, "WITHIN_BUDGET", 1, 2)


def test_a_use_past_the_budget_is_recorded_as_exceeded_or_overage(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    assert summary(client.create_usage_event(user_id, feature_id, 5)) == (True, "WITHIN_BUDGET", 5, 5)
    over = client.create_usage_event(user_id, feature_id, 3)
    assert summary(over) == (True, "BUDGET_EXCEEDED", 3, 8)
    assert over.consumption.remaining == 0
    user_id, feature_id = subscriber(client, 5, overage_enabled=True)
    assert summary(client.create_usage_event(user_id, feature_id, 8)) == (True, "OVERAGE", 8, 8)


def test_a_use_without_a_limit_is_recorded_as_unlimited(client: Client) -> None:
    response = client.create_usage_event(*subscriber(client, None), 7)
    assert summary(response) == (True, "UNLIMITED", 7, 7)
    assert not response.consumption.HasField("budget")


def test_it_is_not_recorded_only_where_there_is_nothing_to_count_against(client: Client) -> None:
    user_id, feature_id = client.create_user(unique("user")).id, consumable(client)
    response = client.create_usage_event(user_id, feature_id, 3)
    assert summary(response) == (False, "NOT_ENTITLED", 0, 0)
    assert not response.HasField("consumption")
    assert response.event_id == ""
    assert not client.show_usage(user_id, feature_id).HasField("current")


def test_not_entitled_is_the_reason_for_a_disabled_user_and_an_archived_feature_too(client: Client) -> None:
    user_id, feature_id = client.create_user(unique("user"), disabled=True).id, consumable(client)
    assert summary(client.create_usage_event(user_id, feature_id)) == (False, "NOT_ENTITLED", 0, 0)
    client.archive_feature(feature_id)
    assert summary(client.create_usage_event(user_id, feature_id)) == (False, "NOT_ENTITLED", 0, 0)


def test_a_use_on_an_inactive_subscription_is_recorded(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    client.create_usage_event(user_id, feature_id, 2)
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_PAST_DUE)
    assert summary(client.create_usage_event(user_id, feature_id, 3)) == (True, "SUBSCRIPTION_INACTIVE", 3, 5)
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_ACTIVE)
    assert not client.can_use(user_id, feature_id).access


def test_a_use_by_a_disabled_user_or_of_an_archived_feature_is_recorded(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    client.update_user(user_id, disabled=True)
    assert summary(client.create_usage_event(user_id, feature_id, 2)) == (True, "USER_DISABLED", 2, 2)
    client.update_user(user_id, disabled=False)
    client.archive_feature(feature_id)
    assert summary(client.create_usage_event(user_id, feature_id, 2)) == (True, "FEATURE_ARCHIVED", 2, 4)
    assert client.show_usage(user_id, feature_id).current.used == 4


def test_a_negative_delta_takes_back_and_stops_at_zero(client: Client) -> None:
    user_id, feature_id = subscriber(client, 10)
    client.create_usage_event(user_id, feature_id, 7)
    assert summary(client.create_usage_event(user_id, feature_id, -3)) == (True, "WITHIN_BUDGET", -3, 4)
    assert summary(client.create_usage_event(user_id, feature_id, -9)) == (True, "WITHIN_BUDGET", -4, 0)
    assert summary(client.create_usage_event(user_id, feature_id, -1)) == (True, "WITHIN_BUDGET", 0, 0)
    assert client.can_use(user_id, feature_id, 10).access


def test_what_is_taken_back_can_be_used_again(client: Client) -> None:
    user_id, feature_id = subscriber(client, 2)
    client.create_usage_event(user_id, feature_id, 6)
    assert summary(client.create_usage_event(user_id, feature_id, -3)) == (True, "BUDGET_EXCEEDED", -3, 3)
    assert summary(client.create_usage_event(user_id, feature_id, -1)) == (True, "WITHIN_BUDGET", -1, 2)
    client.create_usage_event(user_id, feature_id, -1)
    assert client.use_feature(user_id, feature_id).access


def test_set_makes_the_amount_the_total_in_both_directions(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    assert summary(client.create_usage_event(user_id, feature_id, 7, action=SET)) == (True, "BUDGET_EXCEEDED", 7, 7)
    assert summary(client.create_usage_event(user_id, feature_id, 2, action=SET)) == (True, "WITHIN_BUDGET", -5, 2)
    assert summary(client.create_usage_event(user_id, feature_id, 2, action=SET)) == (True, "WITHIN_BUDGET", 0, 2)
    assert summary(client.create_usage_event(user_id, feature_id, 0, action=SET)) == (True, "WITHIN_BUDGET", -2, 0)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"action": SET}, "delta"),
        ({"action": SET, "delta": -1}, "delta"),
        ({"action": v1.USAGE_ACTION_ADD, "delta": 0}, "delta"),
        ({"delta": 0}, "delta"),
        ({"action": 7, "delta": 1}, "action"),
        ({"metadata": {f"key-{number}": "" for number in range(17)}}, "metadata"),
        ({"metadata": {"key": "v" * 2046}}, "metadata"),
        ({"metadata": {"key": "é" * 1023}}, "metadata"),
    ],
)
def test_bad_content_is_refused_by_field_and_counts_nothing(
    stubs: Stubs, client: Client, wrong: dict[str, object], field: str
) -> None:
    user_id, feature_id = subscriber(client, 5)
    client.create_usage_event(user_id, feature_id, 2)
    request = v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, **wrong)  # type: ignore[arg-type]
    refused = failure(stubs.entitlements.CreateUsageEvent, request)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert refused.fields == [field]
    assert "sent" in refused.violations[field]
    assert client.show_usage(user_id, feature_id).current.used == 2


def test_metadata_up_to_its_limits_is_taken_and_kept_in_the_ledger(client: Client, store: StoreInspector) -> None:
    user_id, feature_id = subscriber(client, 5)
    largest_metadata = {f"key-{number:02}": "v" * 122 for number in range(16)}
    assert sum(len(key) + len(value) for key, value in largest_metadata.items()) == 2048
    sent = client.create_usage_event(user_id, feature_id, -3, metadata=largest_metadata)
    entry = store.ledger(user_id)[sent.event_id]
    assert (entry.user_id, entry.feature_id, dict(entry.metadata)) == (user_id, feature_id, largest_metadata)
    assert (entry.delta, entry.applied_delta, entry.used, entry.event_id) == (-3, 0, 0, "")
    assert entry.reason == v1.REASON_WITHIN_BUDGET


def test_a_binary_feature_has_no_usage(stubs: Stubs, client: Client) -> None:
    feature_id, user_id = binary(client), unique("user")
    client.create_user(user_id)
    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=feature_id)])])
    record = stubs.entitlements.CreateUsageEvent
    for event_id in ("", "event"):
        request = v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, event_id=event_id)
        refused = failure(record, request)
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FEATURE_NOT_CONSUMABLE")
        assert refused.metadata == {"feature_id": feature_id}


def test_an_unknown_user_or_feature_is_an_error(stubs: Stubs, client: Client) -> None:
    user_id, feature_id, missing = *subscriber(client, 5), unique("missing")
    record = stubs.entitlements.CreateUsageEvent
    no_user = failure(record, v1.CreateUsageEventRequest(user_id=missing, feature_id=feature_id))
    no_feature = failure(record, v1.CreateUsageEventRequest(user_id=user_id, feature_id=missing))
    assert (no_user.reason, no_user.metadata) == ("USER_NOT_FOUND", {"user_id": missing})
    assert (no_feature.reason, no_feature.metadata) == ("FEATURE_NOT_FOUND", {"feature_id": missing})
    assert failure(stubs.users.GetUser, v1.GetUserRequest(user_id=missing)).reason == "USER_NOT_FOUND"
