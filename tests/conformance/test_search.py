"""Search: users by e-mail address, billing id and prefix, and subscriptions of all users by package and status."""

from datetime import timedelta
from typing import Any, cast

import pytest

from canuse import InvalidArgument, NotFound, v1
from support.message_clients import Client
from support.resources import Clock, package, unique
from support.wire import Stubs, failure


def found(client: Client, page_size: int = 50, **filters: Any) -> list[str]:
    """Return the ids of the users that match filters."""
    return [user.id for user in client.list_users(page_size=page_size, **filters)]


@pytest.mark.parametrize("field", ["email", "billing_id"])
def test_users_are_found_by_exactly_their_value_as_it_changes(client: Client, field: str) -> None:
    user_id, texts = unique("user"), (unique("Zoë@"), unique("zoë@"))
    old, new, none = cast("list[dict[str, Any]]", [{field: text} for text in (*texts, "")])
    assert found(client, **old) == []
    client.create_user(user_id, **old, name="Zoë")
    other = client.create_user(unique("user"), **new).id
    assert found(client, **old) == [user_id]
    for other_text in (texts[0][:-1], texts[0].upper()):
        assert found(client, **cast("dict[str, Any]", {field: other_text})) == []
    assert found(client, **old) == [user_id]
    client.update_user(user_id, **new)
    assert found(client, **old) == []
    assert sorted(found(client, **new)) == sorted([user_id, other])
    client.update_user(user_id, **none)
    assert found(client, **new) == [other]
    assert client.ensure_user(other, **old).updated
    assert (found(client, **old), found(client, **new)) == ([other], [])
    assert client.ensure_user(user_id, **new).updated
    assert found(client, **new) == [user_id]
    made = client.ensure_user(unique("user"), **new).user.id
    assert sorted(found(client, **new)) == sorted([user_id, made])
    for each in (other, user_id, made):
        client.delete_user(each)
    assert found(client, **old) == found(client, **new) == []
    # Created again without the value, the user is not found by it.
    client.create_user(other)
    assert found(client, **new) == []


def test_many_users_can_share_a_value_and_are_listed_in_pages(client: Client) -> None:
    billing_id, email = unique("customer"), unique("mail")
    users = [
        client.create_user(unique("user"), billing_id=billing_id, email=email if number % 2 else "").id
        for number in range(12)
    ]
    listed = found(client, page_size=5, billing_id=billing_id)
    assert sorted(listed) == sorted(users)
    assert listed == [user.id for user in client.list_users(page_size=1000) if user.id in users]
    assert sorted(found(client, page_size=2, billing_id=billing_id, email=email)) == sorted(users[1::2])
    assert found(client, billing_id=billing_id, id_prefix=users[3]) == [users[3]]
    assert found(client, billing_id=billing_id, id_prefix="other") == []


def test_users_are_found_by_the_beginning_of_their_id(client: Client) -> None:
    prefix = unique("tenant*[é]:")
    users = [client.create_user(f"{prefix}{number}").id for number in range(7)]
    client.create_user(f"x{prefix}")
    for size in (1, 3, 1000):
        assert sorted(found(client, page_size=size, id_prefix=prefix)) == users
    assert found(client, id_prefix=users[2]) == [users[2]]
    assert found(client, id_prefix=f"{prefix}x") == []


def test_values_that_no_user_can_have_are_invalid(stubs: Stubs) -> None:
    for request, field in (
        (v1.ListUsersRequest(email="x" * 257), "email"),
        (v1.ListUsersRequest(billing_id="\n"), "billing_id"),
        (v1.ListUsersRequest(id_prefix="x" * 129), "id_prefix"),
    ):
        assert failure(stubs.users.ListUsers, request).fields == [field]


def test_a_token_belongs_to_its_filter(client: Client, stubs: Stubs) -> None:
    email = unique("mail")
    for _ in range(2):
        client.create_user(unique("user"), email=email)
    token = stubs.users.ListUsers(v1.ListUsersRequest(email=email, page_size=1)).next_page_token
    assert token
    other = v1.ListUsersRequest(email="other", page_size=1, page_token=token)
    assert failure(stubs.users.ListUsers, other).fields == ["page_token"]


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_subscriptions_of_all_users_are_found_by_package_and_status(clocked: Client, clock: Clock, size: int) -> None:
    package_id, other = package(clocked, []), package(clocked, [], v1.PACKAGE_TYPE_ADD_ON)
    users = [clocked.create_user(unique("user")).id for _ in range(4)]
    for user_id in users:
        clocked.subscribe(user_id, [package_id, other])
        clocked.subscribe(user_id, [other])
    clock.advance(milliseconds=1)
    [first, *_] = clocked.list_subscriptions(users[0], package_id=package_id)
    clocked.cancel_subscription(first.id)
    trial = clocked.subscribe(users[0], [package_id], trial_end=clock.now() + timedelta(days=1))[0]

    def listed(status: v1.SubscriptionStatus.ValueType | None = None, of: str = package_id) -> list[str]:
        each = clocked.list_subscriptions(package_id=of, status=status, page_size=size)
        return sorted(subscription.user_id for subscription in each)

    active, trialing, cancelled = (
        v1.SUBSCRIPTION_STATUS_ACTIVE,
        v1.SUBSCRIPTION_STATUS_TRIALING,
        v1.SUBSCRIPTION_STATUS_CANCELLED,
    )
    assert listed() == sorted([*users, users[0]])
    assert listed(active) == sorted(users[1:])
    assert (listed(trialing), listed(cancelled)) == ([users[0]], [users[0]])
    assert listed(of=other) == sorted([*users, *users])
    assert [item.id for item in clocked.list_subscriptions(users[0], status=trialing)] == [trial.id]
    clock.advance(days=1)
    assert (listed(trialing), listed(cancelled)) == ([], [users[0], users[0]])
    clocked.delete_user(users[1])
    assert listed(active) == sorted(users[2:])


def test_all_subscriptions_are_listed_by_user_then_by_age(client: Client, stubs: Stubs) -> None:
    user_id = client.create_user(unique("user")).id
    add_on = package(client, [], v1.PACKAGE_TYPE_ADD_ON)
    own = [client.subscribe(user_id, [add_on])[0].id for _ in range(3)]
    everything = list(client.list_subscriptions(page_size=7))
    assert [item.id for item in everything if item.user_id == user_id] == [
        item.id for item in client.list_subscriptions(user_id)
    ]
    assert {item.id for item in everything} >= set(own)
    assert len({item.id for item in everything}) == len(everything)
    order = list(dict.fromkeys(item.user_id for item in everything))
    listed = [user.id for user in client.list_users(page_size=1000)]
    assert order == [each for each in listed if each in order]
    refused = failure(stubs.subscriptions.ListSubscriptions, v1.ListSubscriptionsRequest(status=99))  # type: ignore[arg-type]
    assert refused.fields == ["status"]
    with pytest.raises(NotFound):
        list(client.list_subscriptions(package_id=unique("missing")))
    with pytest.raises(InvalidArgument):
        list(client.list_subscriptions(package_id="x" * 129))
