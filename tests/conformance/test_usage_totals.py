"""ListUsageTotals: what all users have used, by feature and period, exact and as far back as it is kept."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import grpc
import pytest
from dateutil.relativedelta import relativedelta
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import FailedPrecondition, InvalidArgument, NotFound, v1
from support.message_clients import Client
from support.resources import Clock, binary, consumable, grant, package, subscriber, unique
from support.wire import Stubs, failure, moment


def time(message: Timestamp) -> datetime:
    """Return a message as a time."""
    return message.ToDatetime(UTC)


def next_midnight(clock: Clock) -> datetime:
    """Move the clock to the start of the next day (UTC); return the time."""
    goal = clock.now().replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    clock.set(goal)
    return goal


def plan(client: Client, feature_id: str, limit: int | None, period: v1.ResetPeriod.ValueType) -> str:
    """Publish a package with overage."""
    entry = v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=period, overage_enabled=True)
    return package(client, [entry])


def subscribed(client: Client, package_id: str) -> str:
    """Create a user with a package."""
    user_id = client.create_user(unique("user")).id
    client.subscribe(user_id, [package_id])
    return user_id


def test_the_overage_of_a_month_of_days_can_be_billed(clocked: Client, clock: Clock) -> None:
    """Twelve past periods were kept, and with them 12 of 31 days."""
    feature_id = consumable(clocked)
    package_id = plan(clocked, feature_id, 5, v1.RESET_PERIOD_DAY)
    users = [subscribed(clocked, package_id) for _ in range(3)]
    start = clock.now()
    for day in range(31):
        clock.set(start + timedelta(days=day))
        for user_id in users:
            clocked.create_usage_event(user_id, feature_id, 20)

    def totals() -> list[v1.UsageTotal]:
        end = start + timedelta(days=31)
        return list(clocked.list_usage_totals(start_time=start, end_time=end, feature_id=feature_id))

    for days_later in (30, 31, 50):
        clock.set(start + timedelta(days=days_later))
        found = totals()
        assert {total.user_id for total in found} == set(users)
        for user_id in users:
            own = [total for total in found if total.user_id == user_id]
            assert [time(total.period_start) for total in own] == [start + timedelta(days=day) for day in range(31)]
            assert [time(total.period_end) for total in own] == [start + timedelta(days=day + 1) for day in range(31)]
            assert {(total.used, total.budget, total.overage) for total in own} == {(20, 5, 15)}
            assert sum(total.overage for total in own) == 465
            assert [total.complete for total in own] == [True] * 30 + [days_later > 30]
    # It is kept for 62 days after its end.
    clock.set(start + timedelta(days=62))
    assert len(totals()) == 93
    clock.set(start + timedelta(days=63))
    assert len(totals()) == 90
    clock.set(start + timedelta(days=63 + 30))
    assert totals() == []


def test_hours_are_summed_into_days_after_a_week_and_their_overage_stays(clocked: Client, clock: Clock) -> None:
    feature_id = consumable(clocked)
    midnight = next_midnight(clock) + timedelta(minutes=20)
    clock.set(midnight)
    user_id = subscribed(clocked, plan(clocked, feature_id, 5, v1.RESET_PERIOD_HOUR))
    for number, used in ((0, 9), (1, 2), (23, 6), (24, 8), (30, 1)):
        clock.set(midnight + timedelta(hours=number))
        clocked.create_usage_event(user_id, feature_id, used)
    days = [midnight - timedelta(minutes=20) + timedelta(days=day) for day in range(3)]

    def overages() -> list[list[int]]:
        return [
            [
                total.overage
                for total in clocked.list_usage_totals(start_time=start, end_time=end, feature_id=feature_id)
            ]
            for start, end in pairwise(days)
        ]

    clock.set(midnight + timedelta(days=7) + timedelta(hours=1) - timedelta(milliseconds=1))
    assert overages() == [[4, 0, 1], [3, 0]]
    clock.set(midnight + timedelta(days=7) + timedelta(hours=2))
    assert overages() == [[4, 1], [3, 0]]
    clock.set(midnight + timedelta(days=8))
    assert overages() == [[5], [3, 0]]
    clock.set(midnight + timedelta(days=9))
    for _ in range(2):
        assert overages() == [[5], [3]]
        first, second = clocked.list_usage_totals(end_time=days[2], feature_id=feature_id)
        assert (first.used, first.budget, first.overage, first.summed, first.complete) == (17, 15, 5, True, True)
        assert (time(first.period_start), time(first.period_end)) == (midnight, midnight + timedelta(days=1))
        assert (time(second.period_start), time(second.period_end)) == (
            midnight + timedelta(hours=24),
            midnight + timedelta(hours=31),
        )
        past = clocked.show_usage(user_id, feature_id).past
        assert [(each.used, each.overage, each.summed) for each in reversed(past)][:2] == [(17, 5, True), (9, 3, True)]
        # What is shown is stored so with the next use.
        clocked.create_usage_event(user_id, feature_id)


def test_a_period_belongs_to_the_range_in_which_it_starts(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_WEEK, overage_enabled=True)
    start = clock.now()
    for week in range(3):
        clock.set(start + timedelta(weeks=week))
        clocked.create_usage_event(user_id, feature_id, week + 6)

    def overages(since: timedelta | None, until: timedelta | None) -> list[int]:
        listed = clocked.list_usage_totals(
            start_time=None if since is None else start + since,
            end_time=None if until is None else start + until,
            feature_id=feature_id,
        )
        return [total.overage for total in listed]

    millisecond, one_week = timedelta(milliseconds=1), timedelta(weeks=1)
    assert overages(None, None) == [1, 2, 3]
    assert overages(timedelta(), one_week) == [1]
    assert overages(timedelta(), one_week + millisecond) == [1, 2]
    assert overages(millisecond, 2 * one_week) == [2]
    assert overages(2 * one_week, None) == [3]
    assert overages(2 * one_week + millisecond, None) == []
    assert overages(one_week, one_week) == []


def test_the_current_period_and_one_without_an_end_are_not_complete(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_NEVER)
    start = clock.now()
    assert list(clocked.list_usage_totals(feature_id=feature_id)) == []
    clocked.create_usage_event(user_id, feature_id, 7)
    clock.advance(days=400)
    [total] = clocked.list_usage_totals(feature_id=feature_id)
    assert (total.user_id, total.feature_id, total.used, total.budget) == (user_id, feature_id, 7, 5)
    assert (total.overage, total.complete, total.summed) == (2, False, False)
    assert time(total.period_start) == start
    assert not total.HasField("period_end")


def test_a_month_that_ended_since_the_last_call_is_complete(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_MONTH)
    start = clock.now()
    clocked.create_usage_event(user_id, feature_id, 7)
    clock.set(start + relativedelta(months=1))
    [total] = clocked.list_usage_totals(feature_id=feature_id)
    assert (total.used, total.overage, total.complete) == (7, 2, True)
    assert time(total.period_end) == start + relativedelta(months=1)


def test_what_grants_gave_is_no_overage(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_DAY, overage_enabled=True)
    grant(clocked, user_id, feature_id, 4)
    clocked.create_usage_event(user_id, feature_id, 12)
    for complete in (False, True):
        [total] = clocked.list_usage_totals(feature_id=feature_id)
        assert (total.used, total.budget, total.drawn_from_grants, total.overage) == (12, 5, 4, 3)
        assert total.complete == complete
        clock.advance(days=1)
    [past] = clocked.show_usage(user_id, feature_id).past
    assert past.overage == 3


def test_without_a_limit_there_is_no_budget_and_no_overage(clocked: Client) -> None:
    user_id, feature_id = subscriber(clocked, None, v1.RESET_PERIOD_DAY)
    clocked.create_usage_event(user_id, feature_id, 12)
    [total] = clocked.list_usage_totals(feature_id=feature_id)
    assert (total.used, total.HasField("budget"), total.overage) == (12, False, 0)


def test_what_is_left_of_a_user_is_listed_and_of_a_deleted_one_nothing(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_DAY)
    clocked.create_usage_event(user_id, feature_id, 7)
    clock.advance(days=1)
    [subscription] = clocked.list_subscriptions(user_id)
    clocked.cancel_subscription(subscription.id)
    clocked.archive_feature(feature_id)
    [total] = clocked.list_usage_totals(feature_id=feature_id)
    assert (total.used, total.complete) == (7, True)
    clocked.delete_user(user_id)
    assert list(clocked.list_usage_totals(feature_id=feature_id)) == []


@pytest.mark.parametrize("size", [1, 2, 7])
def test_pages_are_in_order_and_each_total_is_on_one_of_them(
    clocked: Client, clocked_stubs: Stubs, clock: Clock, size: int
) -> None:
    features = [f"{unique('é' * 30)}:{number}" for number in range(3)]
    for feature_id in features:
        clocked.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
    entries = [
        v1.PackageFeature(feature_id=feature_id, limit=number, reset_period=v1.RESET_PERIOD_DAY)
        for number, feature_id in enumerate(features)
    ]
    package_id = package(clocked, entries)
    users = {subscribed(clocked, package_id) for _ in range(4)}
    start = clock.now()
    for day in range(4):
        clock.set(start + timedelta(days=day))
        for user_id in users:
            for feature_id in features[day % 2 :]:
                clocked.create_usage_event(user_id, feature_id, day + 1)
    request = v1.ListUsageTotalsRequest(page_size=size, start_time=moment(start))
    found: list[v1.UsageTotal] = []
    while True:
        page = clocked_stubs.usage.ListUsageTotals(request)
        assert len(page.totals) <= size
        found += page.totals
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    own = [total for total in found if total.user_id in users]
    assert len(own) == len(users) * (2 * 3 + 2 * 2)
    listed = [user.id for user in clocked.list_users(page_size=1000) if user.id in users]
    keys = [(listed.index(total.user_id), total.feature_id, time(total.period_start)) for total in own]
    assert keys == sorted(set(keys))


@pytest.mark.extended
def test_a_page_reads_a_bounded_number_of_users(clocked: Client, clocked_stubs: Stubs) -> None:
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_DAY)
    others = [clocked.create_user(unique("idle")).id for _ in range(1001)]
    clocked.create_usage_event(user_id, feature_id, 7)
    request, pages = v1.ListUsageTotalsRequest(feature_id=feature_id), 0
    found: list[v1.UsageTotal] = []
    while True:
        page = clocked_stubs.usage.ListUsageTotals(request)
        pages += 1
        found += page.totals
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    assert pages > 1
    assert [total.used for total in found] == [7]
    for other in others:
        clocked.delete_user(other)


def test_invalid_requests_name_their_field(client: Client, stubs: Stubs) -> None:
    now = datetime.now(UTC)
    with pytest.raises(NotFound):
        list(client.list_usage_totals(feature_id=unique("missing")))
    with pytest.raises(FailedPrecondition):
        list(client.list_usage_totals(feature_id=binary(client)))
    with pytest.raises(InvalidArgument, match="start_time"):
        list(client.list_usage_totals(start_time=now, end_time=now - timedelta(seconds=1)))
    refused = failure(stubs.usage.ListUsageTotals, v1.ListUsageTotalsRequest(page_token="x", page_size=-1))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    refused = failure(stubs.usage.ListUsageTotals, v1.ListUsageTotalsRequest(feature_id="a" * 129))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["feature_id"])
