"""EnsureUser: a user that exists, is up to date, and has a package, in one step."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from canuse import v1
from support.message_clients import Client
from support.resources import consumable, package, unique
from support.wire import Stubs, failure

ADD_ON: Final = v1.PACKAGE_TYPE_ADD_ON
KEPT: Final[dict[str, Any]] = {"name": "Ada", "email": "a@b", "billing_id": "c", "metadata": {"a": "b"}}


def done(answer: v1.EnsureUserResponse) -> tuple[bool, bool, bool]:
    """Return whether the user was created, updated and subscribed."""
    return answer.created, answer.updated, answer.subscribed


@pytest.fixture
def feature_id(client: Client) -> str:
    """A consumable feature."""
    return consumable(client)


@pytest.fixture
def free(client: Client, feature_id: str) -> str:
    """A base package."""
    return package(client, [v1.PackageFeature(feature_id=feature_id, limit=5)])


def test_a_new_user_is_created_as_sent_and_subscribed(client: Client, feature_id: str, free: str) -> None:
    user_id = unique("user")
    answer = client.ensure_user(user_id, **KEPT, disabled=False, package_id=free)
    assert done(answer) == (True, False, True)
    assert answer.user == client.get_user(user_id)
    assert {name: getattr(answer.user, name) for name in KEPT} == KEPT
    assert list(client.list_subscriptions(user_id)) == [answer.subscription]
    assert answer.subscription.started_at == answer.user.created_at
    assert client.use_feature(user_id, feature_id, 5).access
    assert user_id in {user.id for user in client.list_users(page_size=1000)}


def test_a_repeat_changes_nothing_and_says_so(client: Client, free: str) -> None:
    user_id = unique("user")
    first = client.ensure_user(user_id, **KEPT, package_id=free)
    again = client.ensure_user(user_id, **KEPT, package_id=free)
    assert done(again) == (False, False, False)
    assert (again.user, again.subscription) == (first.user, first.subscription)
    assert list(client.list_subscriptions(user_id)) == [first.subscription]


def test_without_a_package_nobody_is_subscribed(client: Client) -> None:
    user_id = unique("user")
    assert done(client.ensure_user(user_id)) == (True, False, False)
    answer = client.ensure_user(user_id)
    assert done(answer) == (False, False, False)
    assert not answer.HasField("subscription")
    assert list(client.list_subscriptions(user_id)) == []


def test_of_an_existing_user_the_given_fields_change_and_no_others(client: Client, stubs: Stubs) -> None:
    expected: dict[str, Any]
    for user, paths, updated, expected in (
        (v1.User(name="new"), [], True, {**KEPT, "name": "new"}),
        (v1.User(name="new"), ["email"], True, {**KEPT, "email": ""}),
        (v1.User(name="new"), ["*"], True, {"name": "new", "email": "", "billing_id": "", "metadata": {}}),
        (v1.User(), [], False, KEPT),
        (v1.User(name="Ada"), ["name"], False, KEPT),
    ):
        before = client.create_user(unique("user"), **KEPT)
        user.id = before.id
        answer = stubs.users.EnsureUser(v1.EnsureUserRequest(user=user, update_mask=FieldMask(paths=paths)))
        assert done(answer) == (False, updated, False)
        assert {name: getattr(answer.user, name) for name in KEPT} == expected
        assert answer.user == client.get_user(before.id)
        assert answer.user.created_at == before.created_at


def test_a_mask_does_not_limit_what_a_new_user_gets(stubs: Stubs) -> None:
    user = v1.User(id=unique("user"), **KEPT, disabled=True)
    answer = stubs.users.EnsureUser(v1.EnsureUserRequest(user=user, update_mask=FieldMask(paths=["name"])))
    user.created_at.CopyFrom(answer.user.created_at)
    assert answer.user == user


def test_a_disabled_user_stays_disabled_unless_told_otherwise(client: Client) -> None:
    """A call at sign-in let everybody in again."""
    user_id = client.create_user(unique("user"), disabled=True).id
    assert client.ensure_user(user_id, name="Ada").user.disabled
    assert not client.ensure_user(user_id, disabled=False).user.disabled


@pytest.mark.parametrize(
    "status", [v1.SUBSCRIPTION_STATUS_ACTIVE, v1.SUBSCRIPTION_STATUS_PAST_DUE, v1.SUBSCRIPTION_STATUS_UNPAID]
)
def test_who_has_a_base_package_keeps_it(client: Client, free: str, status: v1.SubscriptionStatus.ValueType) -> None:
    user_id, paid = client.create_user(unique("user")).id, package(client, [])
    [subscription] = client.subscribe(user_id, [paid], status=status)
    answer = client.ensure_user(user_id, package_id=free)
    assert (done(answer), answer.subscription) == ((False, False, False), subscription)
    client.cancel_subscription(subscription.id)
    again = client.ensure_user(user_id, package_id=free)
    assert (done(again), again.subscription.package_id) == ((False, False, True), free)


def test_a_base_package_that_is_planned_counts_as_one(client: Client, free: str) -> None:
    user_id, paid = client.create_user(unique("user")).id, package(client, [])
    [planned] = client.subscribe(user_id, [paid], started_at=datetime.now(UTC) + timedelta(days=3))
    answer = client.ensure_user(user_id, package_id=free)
    assert (answer.subscribed, answer.subscription) == (False, planned)


def test_an_add_on_is_added_once_beside_whatever_else_there_is(client: Client, free: str) -> None:
    user_id, others = unique("user"), [package(client, [], ADD_ON), free]
    client.create_user(user_id)
    client.subscribe(user_id, others)
    add_on = package(client, [], ADD_ON)
    first, again = (client.ensure_user(user_id, package_id=add_on) for _ in range(2))
    assert (first.subscribed, again.subscribed) == (True, False)
    assert first.subscription == again.subscription
    assert len(list(client.list_subscriptions(user_id))) == 3


def test_a_package_that_cannot_be_subscribed_to_is_refused_and_no_user_is_made(client: Client, stubs: Stubs) -> None:
    draft, archived = client.create_package(unique("package"), []).id, package(client, [])
    client.archive_package(archived)
    existing = client.create_user(unique("user"))
    for package_id, code, reason in (
        ("missing", grpc.StatusCode.NOT_FOUND, "PACKAGE_NOT_FOUND"),
        (draft, grpc.StatusCode.FAILED_PRECONDITION, "PACKAGE_NOT_PUBLISHED"),
        (archived, grpc.StatusCode.FAILED_PRECONDITION, "PACKAGE_NOT_PUBLISHED"),
    ):
        for user_id in (unique("user"), existing.id):
            request = v1.EnsureUserRequest(user=v1.User(id=user_id, name="new"), package_id=package_id)
            refused = failure(stubs.users.EnsureUser, request)
            assert (refused.code, refused.reason) == (code, reason)
            assert refused.metadata == {"package_id": package_id}
            if user_id != existing.id:
                assert failure(stubs.users.GetUser, v1.GetUserRequest(user_id=user_id)).reason == "USER_NOT_FOUND"
    assert client.get_user(existing.id) == existing


def test_who_has_a_package_can_sign_in_after_it_was_archived(client: Client, free: str) -> None:
    user_id = unique("user")
    first = client.ensure_user(user_id, package_id=free)
    client.archive_package(free)
    assert client.ensure_user(user_id, package_id=free).subscription == first.subscription


def test_what_is_wrong_with_a_request_is_said_by_field(stubs: Stubs) -> None:
    user_id = unique("user")
    for field, request in (
        ("user.id", v1.EnsureUserRequest()),
        ("user.name", v1.EnsureUserRequest(user=v1.User(id=user_id, name="n" * 257))),
        ("package_id", v1.EnsureUserRequest(user=v1.User(id=user_id), package_id="x" * 129)),
        ("update_mask", v1.EnsureUserRequest(user=v1.User(id=user_id), update_mask=FieldMask(paths=["id"]))),
    ):
        assert failure(stubs.users.EnsureUser, request).fields == [field]
    assert failure(stubs.users.GetUser, v1.GetUserRequest(user_id=user_id)).reason == "USER_NOT_FOUND"


def test_one_more_add_on_than_there_may_be_is_refused(client: Client, stubs: Stubs) -> None:
    user_id, many, one_more = unique("user"), package(client, [], ADD_ON), package(client, [], ADD_ON)
    client.create_user(user_id)
    for _ in range(100):
        client.subscribe(user_id, [many])
    request = v1.EnsureUserRequest(user=v1.User(id=user_id, name="new"), package_id=one_more)
    assert failure(stubs.users.EnsureUser, request).reason == "TOO_MANY_SUBSCRIPTIONS"
    assert client.get_user(user_id).name == ""


def test_of_many_calls_at_once_one_creates_and_one_subscribes(client: Client, stubs: Stubs, free: str) -> None:
    for _ in range(5):
        user_id = unique("user")
        requests = [
            v1.EnsureUserRequest(user=v1.User(id=user_id, name=f"name-{number % 2}"), package_id=free)
            for number in range(20)
        ]
        answers = [call.result() for call in [stubs.users.EnsureUser.future(request) for request in requests]]
        assert [answer.created for answer in answers].count(True) == 1
        assert [answer.subscribed for answer in answers].count(True) == 1
        [subscription] = client.list_subscriptions(user_id)
        assert {answer.subscription.id for answer in answers} == {subscription.id}


def test_beside_the_call_that_creates_a_user_others_find_them_whole(client: Client, stubs: Stubs, free: str) -> None:
    """CreateUser and Subscribe left a user without a package for whoever looked in between."""
    for _ in range(20):
        user_id = unique("user")
        call = stubs.users.EnsureUser.future(v1.EnsureUserRequest(user=v1.User(id=user_id), package_id=free))
        while not call.done():
            try:
                answer = stubs.subscriptions.ListSubscriptions(v1.ListSubscriptionsRequest(user_id=user_id))
            except grpc.RpcError:
                continue
            assert len(answer.subscriptions) == 1
        assert call.result().created


def test_a_user_deleted_meanwhile_is_created_again_or_gone(client: Client, stubs: Stubs, free: str) -> None:
    user_id = unique("user")
    for _ in range(20):
        client.ensure_user(user_id, package_id=free)
        calls = [
            stubs.users.EnsureUser.future(v1.EnsureUserRequest(user=v1.User(id=user_id, name="n"), package_id=free))
            for _ in range(4)
        ]
        client.delete_user(user_id)
        answers = [call.result() for call in calls]
        assert all(answer.HasField("subscription") for answer in answers)
        if any(answer.created for answer in answers):
            assert len(list(client.list_subscriptions(user_id))) == 1
