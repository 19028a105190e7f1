"""Validation of subscriptions when they are created or changed, and the error for one that does not exist."""

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from canuse import v1
from support.message_clients import Client
from support.resources import package, subscriber, unique
from support.wire import Stubs, failure, moment

ACTIVE, TRIALING = v1.SUBSCRIPTION_STATUS_ACTIVE, v1.SUBSCRIPTION_STATUS_TRIALING
PAST_DUE = v1.SUBSCRIPTION_STATUS_PAST_DUE


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ({"package_ids": []}, ["package_ids"]),
        ({"package_ids": ["a", "b", "a"]}, ["package_ids"]),
        ({"package_ids": [f"p{number}" for number in range(33)]}, ["package_ids"]),
        ({"package_ids": ["a", ""]}, ["package_ids[1]"]),
        ({"status": 99}, ["status"]),
        ({"status": TRIALING}, ["trial_end"]),
        ({"trial_end": moment(datetime(2020, 1, 1, tzinfo=UTC))}, ["trial_end"]),
        ({"started_at": {"seconds": 10**12}}, ["started_at"]),
        ({"started_at": {"seconds": -1}}, ["started_at"]),
        ({"trial_end": {"seconds": 1, "nanos": -1}}, ["trial_end"]),
    ],
)
def test_a_bad_subscription_is_refused_by_field(
    client: Client, stubs: Stubs, wrong: dict[str, Any], fields: list[str]
) -> None:
    user_id = client.create_user(unique("user")).id
    request = v1.SubscribeRequest(**{"user_id": user_id, "package_ids": [package(client, [])], **wrong})
    refused = failure(stubs.subscriptions.Subscribe, request)
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, fields)
    assert all("sent" in text for text in refused.violations.values()), refused.violations
    assert not list(client.list_subscriptions(user_id))


@pytest.mark.parametrize(
    ("change", "paths", "field"),
    [
        ({"status": 99}, ["status"], "subscription.status"),
        ({}, ["status"], "subscription.status"),
        ({"status": TRIALING}, ["status"], "subscription.trial_end"),
        ({"trial_end": moment(datetime(1999, 1, 1, tzinfo=UTC))}, ["trial_end"], "subscription.trial_end"),
        ({"trial_end": {"seconds": 10**12}}, ["trial_end"], "subscription.trial_end"),
        ({"package_id": "a"}, ["package_id"], "update_mask"),
        ({"status": ACTIVE}, ["status", "*"], "update_mask"),
    ],
)
def test_a_bad_change_is_refused_by_field_and_changes_nothing(
    client: Client, stubs: Stubs, change: dict[str, Any], paths: list[str], field: str
) -> None:
    user_id, _ = subscriber(client, 5)
    [before] = client.list_subscriptions(user_id)
    changed = v1.Subscription(id=before.id, **change)
    request = v1.UpdateSubscriptionRequest(subscription=changed, update_mask=FieldMask(paths=paths))
    refused = failure(stubs.subscriptions.UpdateSubscription, request)
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    assert any(word in refused.violations[field] for word in ("sent", "asked for")), refused.violations
    assert client.get_subscription(before.id) == before


def test_an_update_without_a_mask_changes_what_is_set(client: Client, stubs: Stubs) -> None:
    user_id, _ = subscriber(client, 5)
    [before] = client.list_subscriptions(user_id)
    request = v1.UpdateSubscriptionRequest(subscription=v1.Subscription(id=before.id, status=PAST_DUE))
    assert stubs.subscriptions.UpdateSubscription(request).subscription.status == PAST_DUE


def test_a_mask_says_which_fields_of_a_subscription_change(client: Client, stubs: Stubs) -> None:
    end_times = [moment(datetime(year, 1, 1, tzinfo=UTC)) for year in (2125, 2126)]
    for paths, status, end in (
        (["status"], PAST_DUE, end_times[0]),
        (["trial_end"], TRIALING, end_times[1]),
        (["status", "trial_end"], PAST_DUE, end_times[1]),
        (["*"], PAST_DUE, end_times[1]),
    ):
        user_id = client.create_user(unique("user")).id
        request = v1.SubscribeRequest(user_id=user_id, package_ids=[package(client, [])], trial_end=end_times[0])
        [trial] = stubs.subscriptions.Subscribe(request).subscriptions
        requested = v1.Subscription(id=trial.id, status=PAST_DUE, trial_end=end_times[1])
        update = v1.UpdateSubscriptionRequest(subscription=requested, update_mask=FieldMask(paths=paths))
        changed = stubs.subscriptions.UpdateSubscription(update).subscription
        assert (changed.status, changed.trial_end) == (status, end)
        assert client.get_subscription(trial.id) == changed
        requested = v1.Subscription(id=trial.id, status=ACTIVE)
        update = v1.UpdateSubscriptionRequest(subscription=requested, update_mask=FieldMask(paths=["*"]))
        assert not stubs.subscriptions.UpdateSubscription(update).subscription.HasField("trial_end")


@pytest.mark.parametrize("subscription_id", ["a", "sub_1234_YQ", "sub_0_", "sub__", "Ünïcode", "sub_1_YQ==", "\x00"])
def test_an_unknown_subscription_is_not_found(stubs: Stubs, subscription_id: str) -> None:
    subscriptions, changed = stubs.subscriptions, v1.Subscription(id=subscription_id, status=ACTIVE)
    for call, request in (
        (subscriptions.GetSubscription, v1.GetSubscriptionRequest(subscription_id=subscription_id)),
        (subscriptions.CancelSubscription, v1.CancelSubscriptionRequest(subscription_id=subscription_id)),
        (subscriptions.UpdateSubscription, v1.UpdateSubscriptionRequest(subscription=changed)),
    ):
        refused = failure(call, request)
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND")
        assert refused.metadata == {"subscription_id": subscription_id}


def test_a_subscription_of_another_user_is_not_found_under_its_token(client: Client, stubs: Stubs) -> None:
    (user_id, _), (other_id, _) = subscriber(client, 5), subscriber(client, 5)
    [subscription], [other] = client.list_subscriptions(user_id), client.list_subscriptions(other_id)
    mixed = "_".join([*subscription.id.split("_")[:2], *other.id.split("_")[2:]])
    refused = failure(stubs.subscriptions.GetSubscription, v1.GetSubscriptionRequest(subscription_id=mixed))
    assert refused.reason == "SUBSCRIPTION_NOT_FOUND"
