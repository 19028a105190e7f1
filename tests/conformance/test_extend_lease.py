"""ExtendLease and Settle in parts: for long work, whose end and cost are not known at its start."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from google.protobuf.duration_pb2 import Duration

from canuse import AlreadyExists, BadArgument, FailedPrecondition, NotFound, v1
from support.message_clients import Client
from support.resources import Clock, consumable, grant, package, subscriber, unique
from support.store_inspection import StoreInspector
from support.wire import Stubs, failure

MINUTE: Final = timedelta(minutes=1)
MILLISECOND: Final = timedelta(milliseconds=1)
DAY: Final = timedelta(days=1)


def counts(consumption: v1.Consumption) -> tuple[int, int, int]:
    """Return used, reserved and remaining."""
    return consumption.used, consumption.reserved, consumption.remaining


def expiry(response: v1.ReserveResponse | v1.ExtendLeaseResponse) -> datetime:
    """Return when a lease expires."""
    return response.expires_at.ToDatetime(UTC)


# Extending.


def test_a_lease_expires_later_and_never_earlier(clocked: Client, clock: Clock) -> None:
    ids = subscriber(clocked, 5)
    lease_id = clocked.reserve(*ids, 3, ttl=MINUTE).lease_id
    now = clock.advance(seconds=59)
    extended = clocked.extend_lease(lease_id, ttl=MINUTE)
    assert (extended.extended, extended.granted, expiry(extended)) == (True, 3, now + MINUTE)
    assert (extended.reason, counts(extended.consumption)) == (v1.REASON_WITHIN_BUDGET, (0, 3, 2))
    assert expiry(clocked.extend_lease(lease_id, ttl=timedelta(seconds=1))) == now + MINUTE
    clock.set(now + MINUTE - MILLISECOND)
    assert counts(clocked.can_use(*ids).consumption) == (0, 3, 2)
    clock.set(now + MINUTE)
    assert counts(clocked.can_use(*ids).consumption) == (0, 0, 5)


def test_units_are_added_all_or_none(client: Client, store: StoreInspector) -> None:
    ids = subscriber(client, 5)
    reserved = client.reserve(*ids, 2)
    more = client.extend_lease(reserved.lease_id, amount=2)
    assert (more.extended, more.granted, more.reason) == (True, 4, v1.REASON_WITHIN_BUDGET)
    assert (counts(more.consumption), more.expires_at) == ((0, 4, 1), reserved.expires_at)
    before = store.dump(ids[0])
    refused = client.extend_lease(reserved.lease_id, ttl=DAY, amount=2)
    assert (refused.extended, refused.granted, refused.reason) == (False, 4, v1.REASON_BUDGET_EXCEEDED)
    assert (counts(refused.consumption), refused.expires_at) == ((0, 4, 1), reserved.expires_at)
    assert store.dump(ids[0]) == before
    assert counts(client.settle(reserved.lease_id, 4).consumption) == (4, 0, 1)


def test_both_at_once(clocked: Client, clock: Clock) -> None:
    ids = subscriber(clocked, 5)
    lease_id = clocked.reserve(*ids, 2).lease_id
    both = clocked.extend_lease(lease_id, ttl=DAY, amount=3)
    assert (both.extended, both.granted, expiry(both)) == (True, 5, clock.now() + DAY)


def test_grants_and_overage_are_what_units_are_added_from(client: Client) -> None:
    granted, over = subscriber(client, 1), subscriber(client, 1, overage_enabled=True)
    grant(client, *granted, 2)
    lease_id = client.reserve(*granted, 1).lease_id
    assert client.extend_lease(lease_id, amount=2).reason == v1.REASON_WITHIN_BUDGET
    assert client.extend_lease(lease_id, amount=1).reason == v1.REASON_BUDGET_EXCEEDED
    lease_id = client.reserve(*over, 1).lease_id
    assert client.extend_lease(lease_id, amount=9).reason == v1.REASON_OVERAGE
    with pytest.raises(FailedPrecondition) as caught:
        client.extend_lease(lease_id, amount=2**53 - 1)
    assert caught.value.reason == "TOTAL_OUT_OF_RANGE"


def test_of_many_at_once_as_many_are_extended_as_there_are_units(client: Client) -> None:
    ids = subscriber(client, 30)
    leases = [client.reserve(*ids, 1).lease_id for _ in range(10)]
    with ThreadPoolExecutor(8) as pool:
        extended = list(pool.map(lambda number: client.extend_lease(leases[number % 10], amount=1), range(40)))
    assert sum(each.extended for each in extended) == 20
    assert {each.reason for each in extended if not each.extended} == {v1.REASON_BUDGET_EXCEEDED}
    assert counts(client.can_use(*ids).consumption) == (0, 30, 0)
    for lease_id in leases:
        client.settle(lease_id, 1)
    assert counts(client.can_use(*ids).consumption) == (10, 0, 20)


def test_a_retry_gets_the_first_answer(clocked: Client, clock: Clock) -> None:
    ids = subscriber(clocked, 9)
    lease_id = clocked.reserve(*ids, 2).lease_id
    first = clocked.extend_lease(lease_id, amount=2, ttl=MINUTE, event_id="more")
    clock.advance(seconds=1)
    again = clocked.extend_lease(lease_id, amount=2, ttl=MINUTE, event_id="more")
    assert again.replayed
    again.replayed = False
    assert again == first
    assert counts(clocked.can_use(*ids).consumption) == (0, 4, 5)
    for other in ({"amount": 3, "ttl": MINUTE}, {"amount": 2}, {"ttl": MINUTE}):
        with pytest.raises(AlreadyExists) as caught:
            clocked.extend_lease(lease_id, event_id="more", **other)
        assert caught.value.reason == "EVENT_ID_REUSED"
    clocked.settle(lease_id, 4)
    assert clocked.extend_lease(lease_id, amount=2, ttl=MINUTE, event_id="more").replayed


def test_what_has_ended_is_not_extended(clocked: Client, clock: Clock) -> None:
    ids = subscriber(clocked, 5)
    settled, expired = (clocked.reserve(*ids, 1).lease_id for _ in range(2))
    clocked.settle(settled, 1)
    clock.advance(minutes=1)
    for lease_id in (settled, expired, "lease_unknown"):
        with pytest.raises(NotFound) as caught:
            clocked.extend_lease(lease_id, ttl=MINUTE)
        assert (caught.value.reason, caught.value.metadata) == ("LEASE_NOT_FOUND", {"lease_id": lease_id})
    assert clocked.settle(expired, 1).late


def test_a_lease_of_an_earlier_period_lasts_longer_but_gets_no_more_units(clocked: Client, clock: Clock) -> None:
    ids = subscriber(clocked, 5, v1.RESET_PERIOD_HOUR)
    lease_id = clocked.reserve(*ids, 3, ttl=timedelta(hours=2)).lease_id
    clock.advance(hours=1)
    longer = clocked.extend_lease(lease_id, ttl=DAY)
    assert (longer.extended, longer.granted, counts(longer.consumption)) == (True, 3, (0, 0, 5))
    with pytest.raises(FailedPrecondition) as caught:
        clocked.extend_lease(lease_id, amount=1)
    assert (caught.value.reason, caught.value.metadata) == ("LEASE_PERIOD_ENDED", {"lease_id": lease_id})
    clock.advance(hours=23)
    settled = clocked.settle(lease_id, 3)
    assert (settled.late, counts(settled.consumption)) == (False, (0, 0, 5))
    assert [past.used for past in clocked.show_usage(*ids).past] == [3]


def test_work_that_has_begun_may_last_but_gets_no_units_without_access(client: Client) -> None:
    ids = subscriber(client, 5)
    lease_id = client.reserve(*ids, 1).lease_id
    client.update_user(ids[0], disabled=True)
    longer = client.extend_lease(lease_id, ttl=DAY)
    assert (longer.extended, longer.reason) == (True, v1.REASON_USER_DISABLED)
    more = client.extend_lease(lease_id, amount=1)
    assert (more.extended, more.granted, more.reason) == (False, 1, v1.REASON_USER_DISABLED)


def test_an_extension_names_what_is_wrong(client: Client, stubs: Stubs) -> None:
    lease_id = client.reserve(*subscriber(client, 5), 1).lease_id
    day_and_more = Duration(seconds=7 * 86_400 + 1)
    for request, fields in (
        (v1.ExtendLeaseRequest(), ["lease_id", "ttl"]),
        (v1.ExtendLeaseRequest(lease_id=lease_id), ["ttl"]),
        (v1.ExtendLeaseRequest(lease_id=lease_id, ttl=Duration(nanos=999_000_000)), ["ttl"]),
        (v1.ExtendLeaseRequest(lease_id=lease_id, ttl=day_and_more, amount=0), ["amount", "ttl"]),
        (v1.ExtendLeaseRequest(lease_id=lease_id, amount=2**53), ["amount"]),
        (v1.ExtendLeaseRequest(lease_id=lease_id, amount=-1, event_id="x" * 129), ["amount", "event_id"]),
    ):
        refused = failure(stubs.entitlements.ExtendLease, request)
        assert (refused.reason, refused.fields) == ("INVALID_FIELD", fields)
    with pytest.raises(BadArgument):
        client.extend_lease(lease_id)


# Settling in parts.


def test_parts_are_recorded_and_the_rest_is_kept(client: Client) -> None:
    ids = subscriber(client, 10)
    lease_id = client.reserve(*ids, 5).lease_id
    first = client.settle(lease_id, 2, final=False, metadata={"row": "1"})
    assert (first.recorded, first.late, counts(first.consumption)) == (True, False, (2, 3, 5))
    nothing = client.settle(lease_id, 0, final=False)
    assert (nothing.recorded, nothing.event_id, counts(nothing.consumption)) == (False, "", (2, 3, 5))
    assert counts(client.settle(lease_id, 1, final=False).consumption) == (3, 2, 5)
    assert counts(client.settle(lease_id, 1).consumption) == (4, 0, 6)
    events = list(client.list_usage_events(ids[0]))
    assert [(event.delta, event.used, dict(event.metadata)) for event in events] == [
        (1, 4, {}),
        (1, 3, {}),
        (2, 2, {"row": "1"}),
    ]
    with pytest.raises(NotFound):
        client.settle(lease_id, 1, final=False)


def test_a_part_may_exceed_what_was_granted_and_the_lease_is_then_empty(client: Client) -> None:
    ids = subscriber(client, 4)
    lease_id = client.reserve(*ids, 2).lease_id
    over = client.settle(lease_id, 5, final=False)
    assert (over.reason, counts(over.consumption)) == (v1.REASON_BUDGET_EXCEEDED, (5, 0, 0))
    client.create_usage_event(*ids, -4)
    extended = client.extend_lease(lease_id, amount=2)
    assert (extended.granted, counts(extended.consumption)) == (2, (1, 2, 1))
    assert counts(client.settle(lease_id, 0).consumption) == (1, 0, 3)


def test_parts_at_once_are_each_counted_once(client: Client) -> None:
    ids = subscriber(client, 50)
    lease_id = client.reserve(*ids, 40).lease_id
    with ThreadPoolExecutor(8) as pool:
        settled = list(pool.map(lambda _: client.settle(lease_id, 1, final=False), range(30)))
    assert sorted(each.consumption.used for each in settled) == list(range(1, 31))
    assert all(each.consumption.used + each.consumption.reserved == 40 for each in settled)
    assert counts(client.settle(lease_id, 0).consumption) == (30, 0, 20)


def test_a_part_of_an_expired_lease_is_late_and_the_rest_can_be_settled_later(clocked: Client, clock: Clock) -> None:
    ids = subscriber(clocked, 9)
    lease_id = clocked.reserve(*ids, 4).lease_id
    clock.advance(minutes=2)
    part = clocked.settle(lease_id, 1, final=False)
    assert (part.late, counts(part.consumption)) == (True, (1, 0, 8))
    assert clocked.settle(lease_id, 2).late
    assert counts(clocked.can_use(*ids).consumption) == (3, 0, 6)


def test_parts_after_the_period_count_in_it(clocked: Client, clock: Clock) -> None:
    ids = subscriber(clocked, 9, v1.RESET_PERIOD_HOUR)
    lease_id = clocked.reserve(*ids, 4, ttl=DAY).lease_id
    clocked.settle(lease_id, 1, final=False)
    clock.advance(hours=1)
    part = clocked.settle(lease_id, 1, final=False)
    assert counts(part.consumption) == (0, 0, 9)
    clocked.settle(lease_id, 1)
    assert [past.used for past in clocked.show_usage(*ids).past] == [3]


def test_a_part_and_the_end_are_other_content_under_one_event_id(client: Client) -> None:
    ids = subscriber(client, 9)
    lease_id = client.reserve(*ids, 4).lease_id
    client.settle(lease_id, 1, final=False, event_id="part")
    again = client.settle(lease_id, 1, final=False, event_id="part")
    assert (again.replayed, counts(again.consumption)) == (True, (1, 3, 5))
    with pytest.raises(AlreadyExists) as caught:
        client.settle(lease_id, 1, event_id="part")
    assert caught.value.reason == "EVENT_ID_REUSED"
    assert counts(client.can_use(*ids).consumption) == (1, 3, 5)


def test_a_feature_that_the_user_lost_can_still_be_settled_in_parts(client: Client) -> None:
    feature_id, user_id = consumable(client), client.create_user(unique("user")).id
    package_id = package(client, [v1.PackageFeature(feature_id=feature_id, limit=5)])
    [subscription] = client.subscribe(user_id, [package_id])
    lease_id = client.reserve(user_id, feature_id, 3).lease_id
    client.cancel_subscription(subscription.id)
    part = client.settle(lease_id, 1, final=False)
    assert (part.recorded, part.reason, part.consumption.reserved) == (True, v1.REASON_SUBSCRIPTION_INACTIVE, 2)
