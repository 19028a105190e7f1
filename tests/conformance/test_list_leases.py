"""ListLeases: the open leases of a user, those first that expire first."""

from datetime import UTC, timedelta

import pytest

from canuse import NotFound, v1
from canuse_server.api.tokens import page as page_tokens
from support.message_clients import Client
from support.resources import Clock, package, subscriber, unique
from support.wire import Stubs, failure

MINUTE = timedelta(minutes=1)
TOKENS = (
    *("", "-", "1", "x-00", "1-0011223344556677-", "-1-0011223344556677", "1-00112233445566", "01-0011223344556677"),
)


def reserve(client: Client, user_id: str, feature_id: str, amount: int, minutes: int = 1) -> str:
    """Reserve an amount for some minutes; return the id of the lease."""
    return client.reserve(user_id, feature_id, amount, ttl=minutes * MINUTE).lease_id


def listed(client: Client, user_id: str, **filters: object) -> list[tuple[str, int]]:
    """Return the ids and the amounts of a user's leases."""
    return [(lease.id, lease.amount) for lease in client.list_leases(user_id, **filters)]  # type: ignore[arg-type]


def test_open_leases_are_listed_in_the_order_in_which_they_expire(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 100)
    assert listed(clocked, user_id) == []
    late, early = reserve(clocked, user_id, feature_id, 7, 30), reserve(clocked, user_id, feature_id, 5, 10)
    assert listed(clocked, user_id) == [(early, 5), (late, 7)]
    first = next(iter(clocked.list_leases(user_id)))
    assert first.feature_id == feature_id
    assert first.expires_at.ToDatetime(UTC) == clock.now() + 10 * MINUTE
    # What changes a lease changes the list.
    clocked.extend_lease(early, ttl=40 * MINUTE, amount=3)
    clocked.settle(late, 4, final=False)
    assert listed(clocked, user_id) == [(late, 3), (early, 8)]
    clocked.settle(late, 0)
    assert listed(clocked, user_id) == [(early, 8)]
    # At the millisecond of its expiry it is gone, before anything has swept it.
    clock.advance(minutes=40)
    assert listed(clocked, user_id) == []
    reserved = reserve(clocked, user_id, feature_id, 2)
    assert listed(clocked, user_id) == [(reserved, 2)]


def test_the_leases_of_one_feature_are_listed(client: Client) -> None:
    user_id, first = subscriber(client, None)
    other = client.create_feature(unique("feature"), type=v1.FEATURE_TYPE_CONSUMABLE).id
    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=other)], v1.PACKAGE_TYPE_ADD_ON)])
    a, b = reserve(client, user_id, first, 1, 5), reserve(client, user_id, other, 2, 6)
    assert listed(client, user_id) == [(a, 1), (b, 2)]
    assert listed(client, user_id, feature_id=first) == [(a, 1)]
    assert listed(client, user_id, feature_id=other, page_size=1) == [(b, 2)]


def test_a_lease_of_a_period_that_has_ended_is_listed_until_it_expires(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 10, v1.RESET_PERIOD_HOUR)
    lease_id = reserve(clocked, user_id, feature_id, 4, 90)
    clock.advance(hours=1)
    assert listed(clocked, user_id) == [(lease_id, 4)]
    assert clocked.show_usage(user_id, feature_id).current.reserved == 0
    clock.advance(minutes=30)
    assert listed(clocked, user_id) == []


def test_many_leases_that_expire_at_the_same_time_are_listed_once_each(clocked: Client) -> None:
    user_id, feature_id = subscriber(clocked, None)
    added = {reserve(clocked, user_id, feature_id, 1) for _ in range(30)}
    for size in (1, 7, 30, 1000):
        found = [lease.id for lease in clocked.list_leases(user_id, page_size=size)]
        assert len(found) == len(added)
        assert set(found) == added


@pytest.mark.extended
def test_more_leases_than_are_read_at_a_time_may_expire_at_the_same_time(clocked: Client) -> None:
    user_id, feature_id = subscriber(clocked, None)
    added = {reserve(clocked, user_id, feature_id, 1) for _ in range(1050)}
    for size in (700, 1000):
        found = [lease.id for lease in clocked.list_leases(user_id, page_size=size)]
        assert len(found) == len(added)
        assert set(found) == added


def test_a_user_or_a_feature_that_is_not_there_is_an_error(client: Client) -> None:
    user_id, _ = subscriber(client, 1)
    for unknown, reason in (
        ((unique("nobody"), None), "USER_NOT_FOUND"),
        ((user_id, unique("x")), "FEATURE_NOT_FOUND"),
    ):
        with pytest.raises(NotFound) as caught:
            list(client.list_leases(unknown[0], feature_id=unknown[1]))
        assert caught.value.reason == reason


@pytest.mark.parametrize("last", [*TOKENS])
def test_a_token_that_no_page_has_had_is_refused(client: Client, stubs: Stubs, last: str) -> None:
    user_id, _ = subscriber(client, 1)
    request = v1.ListLeasesRequest(user_id=user_id)
    request.page_token = page_tokens.encode(request, last)
    assert failure(stubs.usage.ListLeases, request).fields == ["page_token"]
    request.page_token = page_tokens.encode(request, "1-0011223344556677")
    assert not stubs.usage.ListLeases(request).leases
