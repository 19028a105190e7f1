"""Envoy's rate limit service: everything a request names is used, all or none, and the answer describes the limits."""

from datetime import UTC, datetime, timedelta

import pytest

from canuse import v1
from support.load import used
from support.message_clients import Client
from support.rate_limits import MAX_UINT32, RateLimits, Request, Unit, amount, descriptor, left, summary
from support.resources import Clock, binary, consumable, package, subscriber, unique
from support.store_inspection import StoreInspector
from support.wire import Stubs


@pytest.fixture
def limits(stubs: Stubs) -> RateLimits:
    """The rate limit service on the system clock."""
    return RateLimits(stubs.channel)


@pytest.fixture
def clocked_limits(clocked_stubs: Stubs) -> RateLimits:
    """The rate limit service on the manual clock."""
    return RateLimits(clocked_stubs.channel)


@pytest.fixture
def two(client: Client) -> tuple[str, str, str]:
    """A user who has 5 a month of one feature and 2 of another."""
    first, second, user_id = consumable(client), consumable(client), unique("user")
    client.create_user(user_id)
    entries = [
        v1.PackageFeature(feature_id=name, limit=limit, reset_period=v1.RESET_PERIOD_MONTH)
        for name, limit in ((first, 5), (second, 2))
    ]
    client.subscribe(user_id, [package(client, entries)])
    return user_id, first, second


def test_a_request_is_a_use_and_is_refused_when_the_budget_is_used_up(client: Client, limits: RateLimits) -> None:
    user_id, feature_id = subscriber(client, 5)
    answers = [limits.use(user_id, feature_id) for _ in range(7)]
    assert [summary(answer) for answer in answers] == ["OK: OK"] * 5 + ["OVER_LIMIT: OVER_LIMIT"] * 2
    assert [left(answer) for answer in answers] == [[4], [3], [2], [1], [0], [0], [0]]
    for answer in answers:
        [status] = answer.statuses
        assert (status.current_limit.requests_per_unit, status.current_limit.unit) == (5, Unit.MONTH)
        assert timedelta(days=27) < status.duration_until_reset.ToTimedelta() <= timedelta(days=31)
    assert used(client, user_id, feature_id) == 5


def test_a_use_is_in_the_ledger_like_any_other(client: Client, limits: RateLimits, store: StoreInspector) -> None:
    user_id, feature_id = subscriber(client, 5)
    limits.use(user_id, feature_id, hits=3)
    limits.use(user_id, feature_id, hits=3)
    [entry] = [entry for entry in store.ledger(user_id).values() if entry.user_id == user_id]
    assert (entry.feature_id, entry.delta, entry.applied_delta, entry.used) == (feature_id, 3, 3, 3)
    assert (entry.action, entry.reason, entry.budget) == (v1.USAGE_ACTION_ADD, v1.REASON_WITHIN_BUDGET, 5)


def test_hits_are_an_amount_that_is_given_whole_or_not_at_all(client: Client, limits: RateLimits) -> None:
    user_id, feature_id = subscriber(client, 5)
    assert summary(limits.use(user_id, feature_id, hits=3)) == "OK: OK"
    refused = limits.use(user_id, feature_id, hits=3)
    assert (summary(refused), left(refused)) == ("OVER_LIMIT: OVER_LIMIT", [2])
    assert summary(limits.use(user_id, feature_id, hits=2)) == "OK: OK"
    assert used(client, user_id, feature_id) == 5


def test_the_hits_of_a_descriptor_go_before_those_of_the_request(limits: RateLimits, client: Client) -> None:
    user_id, feature_id = subscriber(client, 10)
    own = descriptor(user_id, feature_id)
    own.hits_addend.value = 4
    assert left(limits.ask(own, hits=7)) == [6]


def test_no_hits_of_a_descriptor_ask_and_count_nothing(
    two: tuple[str, str, str], client: Client, limits: RateLimits, store: StoreInspector
) -> None:
    user_id, first, second = two
    probe = descriptor(user_id, second)
    probe.hits_addend.value = 0
    before = store.user(user_id)
    assert (summary(limits.ask(probe)), left(limits.ask(probe))) == ("OK: OK", [2])
    assert store.user(user_id) == before
    assert left(limits.ask(descriptor(user_id, first), probe)) == [4, 2]
    assert (used(client, user_id, first), used(client, user_id, second)) == (1, 0)
    client.create_usage_event(user_id, second, 3)
    assert summary(limits.ask(probe)) == "OVER_LIMIT: OVER_LIMIT"
    assert summary(limits.ask(descriptor(user_id, first), probe)) == "OVER_LIMIT: OK OVER_LIMIT"
    assert used(client, user_id, first) == 1
    assert len([entry for entry in store.ledger(user_id).values() if entry.user_id == user_id]) == 2


def test_several_descriptors_are_used_all_or_none(
    two: tuple[str, str, str], client: Client, limits: RateLimits
) -> None:
    user_id, first, second = two
    both = descriptor(user_id, first), descriptor(user_id, second)
    answers = [limits.ask(*both) for _ in range(3)]
    assert [summary(answer) for answer in answers] == ["OK: OK OK", "OK: OK OK", "OVER_LIMIT: OK OVER_LIMIT"]
    assert [left(answer) for answer in answers] == [[4, 1], [3, 0], [3, 0]]
    assert [status.current_limit.requests_per_unit for status in answers[2].statuses] == [5, 2]
    assert (used(client, user_id, first), used(client, user_id, second)) == (2, 2)


def test_descriptors_of_the_same_feature_add_up(two: tuple[str, str, str], client: Client, limits: RateLimits) -> None:
    user_id, first, second = two
    twice = descriptor(user_id, second), descriptor(user_id, first), descriptor(user_id, second, path="/x")
    answer = limits.ask(*twice)
    assert (summary(answer), left(answer)) == ("OK: OK OK OK", [0, 4, 0])
    assert (used(client, user_id, first), used(client, user_id, second)) == (1, 2)
    assert summary(limits.ask(*twice)) == "OVER_LIMIT: OVER_LIMIT OK OVER_LIMIT"


def test_callers_at_once_get_exactly_the_budget(client: Client, limits: RateLimits) -> None:
    user_id, feature_id = subscriber(client, 5)
    request = Request(domain="canuse", descriptors=[descriptor(user_id, feature_id)])
    calls = [limits.stub.ShouldRateLimit.future(request) for _ in range(100)]
    answers = [call.result() for call in calls]
    assert sorted(left(answer) for answer in answers if summary(answer) == "OK: OK") == [[0], [1], [2], [3], [4]]
    assert used(client, user_id, feature_id) == 5


def test_a_binary_feature_is_let_through_where_the_user_has_it_and_counts_nothing(
    client: Client, limits: RateLimits, store: StoreInspector
) -> None:
    switch, (user_id, feature_id) = binary(client), subscriber(client, 1)
    alone = summary(limits.use(user_id, switch))
    mixed = summary(limits.ask(descriptor(user_id, feature_id), descriptor(user_id, switch)))
    assert (alone, mixed) == ("OVER_LIMIT: OVER_LIMIT", "OVER_LIMIT: OK OVER_LIMIT")
    assert used(client, user_id, feature_id) == 0

    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=switch)], v1.PACKAGE_TYPE_ADD_ON)])
    before = store.user(user_id)
    answer = limits.use(user_id, switch, hits=1000)
    assert (summary(answer), left(answer), answer.statuses[0].HasField("current_limit")) == (
        "OK: OK",
        [MAX_UINT32],
        False,
    )
    assert store.user(user_id) == before
    # Above the largest total it was refused.
    for hits in (2**53, 2**64 - 1):
        assert summary(limits.ask(amount(descriptor(user_id, switch), hits))) == "OK: OK"
    both = descriptor(user_id, feature_id), descriptor(user_id, switch)
    assert [summary(limits.ask(*both)) for _ in range(2)] == ["OK: OK OK", "OVER_LIMIT: OVER_LIMIT OK"]


def test_without_a_limit_none_is_reported(client: Client, limits: RateLimits) -> None:
    user_id, feature_id = subscriber(client, None)
    answer = limits.use(user_id, feature_id, hits=9)
    assert (summary(answer), left(answer), answer.statuses[0].HasField("current_limit")) == (
        "OK: OK",
        [MAX_UINT32],
        False,
    )
    assert used(client, user_id, feature_id) == 9


def test_overage_is_let_through_with_nothing_left(client: Client, limits: RateLimits) -> None:
    user_id, feature_id = subscriber(client, 2, overage_enabled=True)
    answers = [limits.use(user_id, feature_id) for _ in range(3)]
    assert [(summary(answer), left(answer)) for answer in answers] == [
        ("OK: OK", [1]),
        ("OK: OK", [0]),
        ("OK: OK", [0]),
    ]
    assert used(client, user_id, feature_id) == 3


def test_a_refusal_for_another_reason_than_the_limit_reports_no_limit(client: Client, limits: RateLimits) -> None:
    """Otherwise Envoy would tell the user to wait for a reset that does not help."""

    def check_refused() -> None:
        answer = limits.use(user_id, feature_id)
        assert (summary(answer), left(answer)) == ("OVER_LIMIT: OVER_LIMIT", [0])
        assert not answer.statuses[0].HasField("current_limit")
        assert not answer.statuses[0].HasField("duration_until_reset")

    user_id, feature_id = client.create_user(unique("user")).id, consumable(client)
    check_refused()

    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_UNPAID)
    check_refused()
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_ACTIVE)

    client.update_user(user_id, disabled=True)
    check_refused()
    client.update_user(user_id, disabled=False)

    assert left(limits.use(user_id, feature_id)) == [4]
    client.archive_feature(feature_id)
    check_refused()


@pytest.mark.parametrize(
    ("period", "unit", "longest"),
    [
        (v1.RESET_PERIOD_HOUR, Unit.HOUR, timedelta(hours=1)),
        (v1.RESET_PERIOD_DAY, Unit.DAY, timedelta(days=1)),
        (v1.RESET_PERIOD_WEEK, Unit.WEEK, timedelta(days=7)),
        (v1.RESET_PERIOD_MONTH, Unit.MONTH, timedelta(days=31)),
        (v1.RESET_PERIOD_YEAR, Unit.YEAR, timedelta(days=366)),
    ],
)
def test_the_time_until_the_reset_is_exact(
    clocked: Client,
    clocked_limits: RateLimits,
    clock: Clock,
    period: v1.ResetPeriod.ValueType,
    unit: Unit.ValueType,
    longest: timedelta,
) -> None:
    user_id, feature_id = subscriber(clocked, 1, period)
    clock.advance(seconds=10.25)
    [status] = clocked_limits.use(user_id, feature_id).statuses
    counts = clocked.show_usage(user_id, feature_id).current
    until_reset = status.duration_until_reset.ToTimedelta()
    assert counts.resets_at.ToDatetime(UTC) - clock.now() == until_reset <= longest - timedelta(seconds=10.25)
    assert status.current_limit.unit == unit

    clock.advance(seconds=until_reset.total_seconds() - 0.001)
    refused = clocked_limits.use(user_id, feature_id)
    assert (summary(refused), refused.statuses[0].duration_until_reset.nanos) == ("OVER_LIMIT: OVER_LIMIT", 1_000_000)
    clock.advance(seconds=0.001)
    assert summary(clocked_limits.use(user_id, feature_id)) == "OK: OK"


def test_a_limit_that_never_resets_has_no_unit_and_no_time_even_if_it_is_nothing(
    client: Client, limits: RateLimits
) -> None:
    [status] = limits.use(*subscriber(client, 0, v1.RESET_PERIOD_NEVER)).statuses
    assert status.HasField("current_limit")
    assert (status.current_limit.requests_per_unit, status.current_limit.unit) == (0, Unit.UNKNOWN)
    assert not status.HasField("duration_until_reset")


def test_amounts_that_the_answer_has_no_room_for_are_its_largest(client: Client, limits: RateLimits) -> None:
    user_id, feature_id = subscriber(client, 2**40)
    [status] = limits.use(user_id, feature_id).statuses
    assert (status.current_limit.requests_per_unit, status.limit_remaining) == (MAX_UINT32, MAX_UINT32)
    client.create_usage_event(user_id, feature_id, 2**40 - 2)
    [status] = limits.use(user_id, feature_id).statuses
    assert (status.current_limit.requests_per_unit, status.limit_remaining) == (MAX_UINT32, 0)


def test_what_grants_give_is_part_of_the_limit(client: Client, limits: RateLimits) -> None:
    user_id, feature_id = subscriber(client, 1)
    client.create_grant(user_id, unique("grant"), feature_id, amount=2)
    answers = [limits.use(user_id, feature_id) for _ in range(4)]
    assert [summary(answer) for answer in answers] == ["OK: OK"] * 3 + ["OVER_LIMIT: OVER_LIMIT"]
    assert [(answer.statuses[0].current_limit.requests_per_unit, left(answer)) for answer in answers[:2]] == [
        (3, [2]),
        (3, [1]),
    ]


def test_what_leases_hold_is_not_left(client: Client, limits: RateLimits) -> None:
    user_id, feature_id = subscriber(client, 5)
    assert client.reserve(user_id, feature_id, 3).granted == 3
    answers = [limits.use(user_id, feature_id) for _ in range(3)]
    assert [summary(answer) for answer in answers] == ["OK: OK", "OK: OK", "OVER_LIMIT: OVER_LIMIT"]
    assert [left(answer) for answer in answers] == [[1], [0], [0]]
    assert used(client, user_id, feature_id) == 2


def test_a_year_that_starts_on_a_leap_day_follows_the_calendar(clocked: Client, clocked_limits: RateLimits) -> None:
    started_at = datetime(2020, 2, 29, tzinfo=UTC)
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_YEAR, started_at=started_at)
    [status] = clocked_limits.use(user_id, feature_id).statuses
    counts = clocked.show_usage(user_id, feature_id).current
    assert status.limit_remaining == counts.remaining == 4
    assert counts.resets_at.ToDatetime(UTC).month == 2
