"""Users: what is stored of them, which fields an update changes, and that deleting one deletes everything."""

from typing import Any, cast

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import v1
from support.message_clients import Client
from support.resources import consumable, package, subscriber, unique
from support.store_inspection import StoreInspector, user_in_same_bucket
from support.wire import Stubs, failure

KEPT: dict[str, Any] = {
    "name": "Ünï",
    "email": "a@b",
    "billing_id": "b" * 256,
    "metadata": {"a": "b"},
    "disabled": True,
}


def fields(user: v1.User) -> dict[str, Any]:
    """Return the fields that a caller can set of a user."""
    return {name: getattr(user, name) for name in KEPT}


def test_a_user_is_kept_as_sent_and_enabled_unless_it_says_otherwise(client: Client, stubs: Stubs) -> None:
    user_id = unique("user")
    request = v1.CreateUserRequest(user=v1.User(id=user_id, **KEPT, created_at=Timestamp(seconds=5)))
    created = stubs.users.CreateUser(request).user
    assert fields(created) == KEPT
    assert created.created_at.seconds > 5
    assert created == client.get_user(user_id)
    plain = client.create_user(unique("user"))
    assert fields(plain) == {"name": "", "email": "", "billing_id": "", "metadata": {}, "disabled": False}


def test_an_id_that_is_taken_already_exists_and_the_user_stays(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = subscriber(client, 5)
    client.use_feature(user_id, feature_id, 2)
    before = client.get_user(user_id)
    refused = failure(stubs.users.CreateUser, v1.CreateUserRequest(user=v1.User(id=user_id, name="another")))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "USER_EXISTS")
    assert refused.metadata == {"user_id": user_id}
    assert client.get_user(user_id) == before
    assert client.can_use(user_id, feature_id).consumption.used == 2


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "n" * 257}, "name"),
        ({"email": "é" * 129}, "email"),
        ({"billing_id": "n" * 257}, "billing_id"),
        ({"metadata": {f"{number}": "" for number in range(17)}}, "metadata"),
        ({"metadata": {"a": "b" * 2048}}, "metadata"),
    ],
)
def test_a_bad_user_is_refused_by_field_and_neither_made_nor_changed(
    client: Client, stubs: Stubs, wrong: dict[str, Any], field: str
) -> None:
    user = v1.User(**{"id": unique("user"), "disabled": True, **wrong})
    refused = failure(stubs.users.CreateUser, v1.CreateUserRequest(user=user))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [f"user.{field}"])
    assert "sent" in refused.violations[f"user.{field}"]
    assert failure(stubs.users.GetUser, v1.GetUserRequest(user_id=user.id)).reason == "USER_NOT_FOUND"
    before = client.create_user(user.id)
    assert failure(stubs.users.UpdateUser, v1.UpdateUserRequest(user=user)).fields == [f"user.{field}"]
    assert client.get_user(user.id) == before


def test_a_mask_says_which_fields_change(client: Client, stubs: Stubs) -> None:
    expected = {"name": "new", "email": "", "billing_id": "", "metadata": {}, "disabled": False}
    cases: tuple[tuple[list[str], dict[str, Any]], ...] = (
        (["name"], {**KEPT, "name": "new"}),
        (["disabled"], {**KEPT, "disabled": False}),
        (["email", "metadata"], {**KEPT, "email": "", "metadata": {}}),
        (["*"], expected),
        ([], {**KEPT, "name": "new"}),
    )
    for paths, expected in cases:
        before = client.create_user(unique("user"), **KEPT)
        request = v1.UpdateUserRequest(user=v1.User(id=before.id, name="new"), update_mask=FieldMask(paths=paths))
        changed = stubs.users.UpdateUser(request).user
        assert fields(changed) == expected
        assert changed.created_at == before.created_at
        assert changed == client.get_user(before.id)


@pytest.mark.parametrize("path", ["id", "created_at", "nothing", "metadata.a", "", "user.name"])
def test_a_mask_with_another_field_is_refused_and_changes_nothing(client: Client, stubs: Stubs, path: str) -> None:
    before = client.create_user(unique("user"), **KEPT)
    expected = v1.User(id=before.id, name="new")
    request = v1.UpdateUserRequest(user=expected, update_mask=FieldMask(paths=["name", path]))
    refused = failure(stubs.users.UpdateUser, request)
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["update_mask"])
    assert client.get_user(before.id) == before


def test_changes_of_different_fields_at_once_all_hold(client: Client, stubs: Stubs) -> None:
    expected = {**KEPT, "billing_id": "c", "name": "changed"}
    for _ in range(10):
        user_id = client.create_user(unique("user")).id
        changed = v1.User(id=user_id, **expected)
        requests = [v1.UpdateUserRequest(user=changed, update_mask=FieldMask(paths=[path])) for path in expected]
        for call in [stubs.users.UpdateUser.future(request) for request in requests]:
            call.result()
        assert fields(client.get_user(user_id)) == expected


def test_an_unknown_user_is_not_found_by_any_call(client: Client, stubs: Stubs) -> None:
    missing, feature_id = unique("missing"), consumable(client)
    package_id = package(client, [])
    users, subscriptions, entitlements = stubs.users, stubs.subscriptions, stubs.entitlements
    for call, request in (
        (users.GetUser, v1.GetUserRequest(user_id=missing)),
        (users.UpdateUser, v1.UpdateUserRequest(user=v1.User(id=missing, name="a"))),
        (users.DeleteUser, v1.DeleteUserRequest(user_id=missing)),
        (subscriptions.Subscribe, v1.SubscribeRequest(user_id=missing, package_ids=[package_id])),
        (subscriptions.ListSubscriptions, v1.ListSubscriptionsRequest(user_id=missing)),
        (entitlements.ListEntitlements, v1.ListEntitlementsRequest(user_id=missing)),
        (stubs.usage.ShowUsage, v1.ShowUsageRequest(user_id=missing, feature_id=feature_id)),
    ):
        refused = failure(call, request)
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")
        assert refused.metadata == {"user_id": missing}


@pytest.mark.extended
def test_erasing_a_user_erases_everything_about_them(client: Client, stubs: Stubs, store: StoreInspector) -> None:
    user_id, feature_id = subscriber(client, None)
    [subscription] = client.list_subscriptions(user_id)
    granted_id = consumable(client)
    marks = [unique("mark") for _ in range(8)]
    client.update_user(user_id, name=marks[0], email=marks[1], billing_id=marks[2], metadata={marks[3]: ""})
    for number in range(20):
        client.create_usage_event(user_id, feature_id, metadata={"job": marks[4]}, event_id=f"{marks[4]}-{number}")
    client.create_grant(user_id, marks[5], granted_id, amount=5, note=marks[6])
    client.create_grant(user_id, "other", feature_id, amount=5)
    client.use_features(user_id, {granted_id: 2, feature_id: 2}, event_id=marks[7])
    # What was used becomes a past period.
    client.revoke_grant(user_id, marks[5])
    before = store.everything()
    assert all(mark.encode() in before for mark in (user_id, *marks))
    assert {kind[0] for kind in store.kinds_of_keys(user_id)} == set("uphgd")

    client.delete_user(user_id)
    # Ids stay in the audit log until its entries are too old.
    for mark in (user_id, *marks):
        assert store.names_with(mark) == ([store.audit_log(user_id)] if mark in (user_id, marks[5]) else []), mark
    for call, request, reason in (
        (stubs.users.GetUser, v1.GetUserRequest(user_id=user_id), "USER"),
        (stubs.users.DeleteUser, v1.DeleteUserRequest(user_id=user_id), "USER"),
        (stubs.entitlements.CanUse, v1.CanUseRequest(user_id=user_id, feature_id=feature_id), "USER"),
        (
            stubs.subscriptions.GetSubscription,
            v1.GetSubscriptionRequest(subscription_id=subscription.id),
            "SUBSCRIPTION",
        ),
    ):
        assert failure(call, request).reason == f"{reason}_NOT_FOUND"
    assert user_id not in {user.id for user in client.list_users(page_size=1000)}


def test_a_user_of_the_same_id_starts_afresh(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    client.update_user(user_id, name="before")
    client.create_grant(user_id, "g", feature_id, amount=5)
    client.use_feature(user_id, feature_id, 7, event_id="e")
    client.delete_user(user_id)
    client.create_user(user_id)
    assert client.get_user(user_id).name == ""
    assert not list(client.list_subscriptions(user_id))
    assert client.can_use(user_id, feature_id).reason == v1.REASON_NOT_ENTITLED
    assert not list(client.list_grants(user_id))
    assert not client.show_usage(user_id, feature_id).past
    client.subscribe(user_id, [subscription.package_id])
    answer = client.use_feature(user_id, feature_id, 2, event_id="e")
    assert (answer.access, answer.replayed, answer.consumption.used) == (True, False, 2)
    assert answer.consumption.budget == 5


def test_erasing_a_user_leaves_the_events_of_others_in_the_same_ledger(
    client: Client, stubs: Stubs, store: StoreInspector
) -> None:
    user_id, feature_id = subscriber(client, None)
    [subscription] = client.list_subscriptions(user_id)
    other_id = client.create_user(user_in_same_bucket(user_id)).id
    client.subscribe(other_id, [subscription.package_id])
    # More than are read at a time.
    requests = [v1.CreateUsageEventRequest(user_id=each, feature_id=feature_id) for each in (user_id, other_id)] * 50
    for _ in range(12):
        for call in [stubs.entitlements.CreateUsageEvent.future(request) for request in requests]:
            assert call.result().recorded
    client.delete_user(user_id)
    users = [entry.user_id for entry in store.ledger(other_id).values()]
    assert (users.count(user_id), users.count(other_id)) == (0, 600)
    assert client.show_usage(other_id, feature_id).current.used == 600


def test_very_many_changes_of_one_user_at_once_are_all_made(client: Client, stubs: Stubs) -> None:
    """They conflicted, and some failed with STORE_UNAVAILABLE although the store was available."""
    user_id = client.create_user(unique("user")).id
    request = v1.UpdateUserRequest(user=v1.User(id=user_id, name="a"))
    calls = [stubs.users.UpdateUser.future(request) for _ in range(100)]
    assert {call.code() for call in calls} == {grpc.StatusCode.OK}


def test_a_user_who_is_erased_while_they_are_asked_about_is_there_or_not_and_nothing_in_between(
    client: Client, stubs: Stubs
) -> None:
    """Grants that disappeared between two reads made it an internal error."""
    user_id, feature_id = unique("user"), consumable(client)
    explained = v1.CanUseRequest(user_id=user_id, feature_id=feature_id, explain=True)
    shown = v1.ShowUsageRequest(user_id=user_id, feature_id=feature_id)
    codes = set()
    for _ in range(60):
        client.create_user(user_id)
        client.create_grant(user_id, "grant", feature_id, amount=3)
        erased = stubs.users.DeleteUser.future(v1.DeleteUserRequest(user_id=user_id))
        calls: list[grpc.Future[Any]] = []
        for _ in range(8):
            calls += [stubs.entitlements.CanUse.future(explained), stubs.usage.ShowUsage.future(shown)]
        codes |= {cast("grpc.Call", call).code() for call in calls}
        erased.result()
    assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND}
