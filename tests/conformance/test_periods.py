"""Reset periods on the manual clock: [start, end) to the millisecond, counted from the start of the subscription."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import grpc
import pytest
from dateutil.relativedelta import relativedelta
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import v1
from canuse.testing import v1 as testing
from support.message_clients import Client
from support.resources import Clock, subscriber
from support.wire import Stubs, failure, moment

MILLISECOND = timedelta(milliseconds=1)
LENGTHS = {
    v1.RESET_PERIOD_HOUR: relativedelta(hours=1),
    v1.RESET_PERIOD_DAY: relativedelta(days=1),
    v1.RESET_PERIOD_WEEK: relativedelta(weeks=1),
    v1.RESET_PERIOD_MONTH: relativedelta(months=1),
    v1.RESET_PERIOD_YEAR: relativedelta(years=1),
}
every_period = pytest.mark.parametrize("period", LENGTHS, ids=v1.ResetPeriod.Name)


def time(message: Timestamp) -> datetime:
    """Return a message as a time."""
    return message.ToDatetime(UTC)


def is_leap(year: int) -> bool:
    """Whether a year has a 29 February."""
    return (datetime(year, 3, 1, tzinfo=UTC) - timedelta(days=1)).day == 29


def go_to(clock: Clock, month: int, day: int, *, leap: bool) -> datetime:
    """Move the clock to the next such day, in a leap year or in another year; return the time."""
    year = clock.now().year + 1
    while is_leap(year) != leap:
        year += 1
    goal = datetime(year, month, day, 23, 59, 59, 999_000, tzinfo=UTC)
    clock.set(goal)
    return goal


@every_period
def test_a_period_starts_at_its_first_millisecond_and_ends_before_the_next(
    clocked: Client, clock: Clock, period: v1.ResetPeriod.ValueType
) -> None:
    user_id, feature_id = subscriber(clocked, 2, period)
    start = clock.now()
    end_times = [start + LENGTHS[period] * number for number in (1, 2)]
    counts = clocked.create_usage_event(user_id, feature_id, 2).consumption
    assert (time(counts.period_start), time(counts.resets_at)) == (start, end_times[0])

    clock.set(end_times[0] - MILLISECOND)
    assert clocked.can_use(user_id, feature_id).consumption == counts
    assert clocked.use_feature(user_id, feature_id).reason == v1.REASON_BUDGET_EXCEEDED

    clock.set(end_times[0])
    reset = clocked.can_use(user_id, feature_id)
    assert (reset.access, reset.consumption.used) == (True, 0)
    assert (time(reset.consumption.period_start), time(reset.consumption.resets_at)) == (end_times[0], end_times[1])
    assert clocked.use_feature(user_id, feature_id, 2).consumption.used == 2


@every_period
def test_the_first_use_at_the_end_of_a_period_counts_in_the_next(
    clocked: Client, clock: Clock, period: v1.ResetPeriod.ValueType
) -> None:
    user_id, feature_id = subscriber(clocked, 5, period)
    start = clock.now()
    end = start + LENGTHS[period]
    clock.set(end - MILLISECOND)
    assert clocked.use_feature(user_id, feature_id, 4).consumption.used == 4
    clock.set(end)
    assert clocked.use_feature(user_id, feature_id, 3).consumption.used == 3
    usage = clocked.show_usage(user_id, feature_id)
    assert usage.current.used == 3
    [past] = usage.past
    assert (time(past.period_start), time(past.period_end), past.used, past.budget) == (start, end, 4, 5)


@pytest.mark.parametrize("leap", [True, False])
def test_a_month_from_31_january_ends_with_february_and_the_day_is_not_lost(
    clocked: Client, clock: Clock, leap: bool
) -> None:
    start = go_to(clock, 1, 31, leap=leap)
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_MONTH)
    starts = []
    for _ in range(14):
        counts = clocked.use_feature(user_id, feature_id, 5).consumption
        assert counts.used == 5
        starts.append(time(counts.period_start))
        clock.set(time(counts.resets_at))
    assert starts == [start + relativedelta(months=number) for number in range(14)]
    february = 29 if leap else 28
    assert [each.day for each in starts[:13]] == [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31]
    past = clocked.show_usage(user_id, feature_id).past
    assert [time(each.period_start) for each in reversed(past)] == starts[-len(past) :]
    assert all(older.period_end == newer.period_start for newer, older in pairwise(past))


def test_a_year_from_29_february_ends_on_the_28th_and_in_leap_years_on_the_29th(clocked: Client, clock: Clock) -> None:
    start = go_to(clock, 2, 29, leap=True)
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_YEAR)
    days = []
    for number in range(1, 6):
        counts = clocked.use_feature(user_id, feature_id, 5).consumption
        assert time(counts.resets_at) == start + relativedelta(years=number)
        days.append((time(counts.resets_at).month, time(counts.resets_at).day))
        clock.set(time(counts.resets_at))
    assert sorted(set(days)) == [(2, 28), (2, 29)] if is_leap(start.year + 4) else [(2, 28)]


def test_without_a_period_the_count_stays_for_ever(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_NEVER)
    start = clock.now()
    clocked.use_feature(user_id, feature_id, 5)
    clock.advance(days=1500)
    answer = clocked.can_use(user_id, feature_id)
    assert (answer.access, answer.consumption.used) == (False, 5)
    assert time(answer.consumption.period_start) == start
    assert not answer.consumption.HasField("resets_at")
    assert not clocked.show_usage(user_id, feature_id).past


@every_period
def test_periods_without_use_are_passed_over_and_used_ones_stay_in_order(
    clocked: Client, clock: Clock, period: v1.ResetPeriod.ValueType
) -> None:
    user_id, feature_id = subscriber(clocked, 9, period)
    start, length = clock.now(), LENGTHS[period]
    for number, used in ((0, 1), (1, 2), (4, 3), (5, 10)):
        clock.set(start + length * number)
        clocked.create_usage_event(user_id, feature_id, used)
    expected = [
        (start + length * number, start + length * (number + 1), used)
        for number, used in ((5, 10), (4, 3), (1, 2), (0, 1))
    ]
    kept = expected
    for number in (6, 8):
        # The past period is readable before anything is recorded in the next one.
        clock.set(start + length * number)
        usage = clocked.show_usage(user_id, feature_id)
        assert usage.current.used == 0
        assert time(usage.current.period_start) == start + length * number
        kept = [past for past in expected if past[1] + timedelta(days=62) > clock.now()]
        assert [(time(each.period_start), time(each.period_end), each.used) for each in usage.past] == kept
        assert all(each.budget == 9 for each in usage.past)
    clocked.create_usage_event(user_id, feature_id)
    assert [each.used for each in clocked.show_usage(user_id, feature_id).past] == [past[2] for past in kept]


@pytest.mark.parametrize("period", [v1.RESET_PERIOD_DAY, v1.RESET_PERIOD_MONTH], ids=v1.ResetPeriod.Name)
def test_past_periods_are_kept_for_62_days_after_their_end(
    clocked: Client, clock: Clock, period: v1.ResetPeriod.ValueType
) -> None:
    user_id, feature_id = subscriber(clocked, None, period)
    start = clock.now()
    ends = [start + LENGTHS[period] * (number + 1) for number in range(15)]
    for number in range(15):
        clock.set(start + LENGTHS[period] * number)
        clocked.create_usage_event(user_id, feature_id, number + 1)
    for now in (ends[-1], max(ends[-1], ends[1] + timedelta(days=62) - MILLISECOND), ends[-1] + timedelta(days=61)):
        clock.set(now)
        kept = [number + 1 for number in range(15) if ends[number] + timedelta(days=62) > now]
        for _ in range(2):
            past = [each for each in clocked.show_usage(user_id, feature_id).past if time(each.period_end) <= ends[-1]]
            assert [each.used for each in past] == kept[::-1]
            assert not any(each.HasField("budget") for each in past)
            clocked.create_usage_event(user_id, feature_id)


def test_taking_back_and_setting_in_a_new_period_leave_the_old_one_as_it_was(clocked: Client, clock: Clock) -> None:
    for period in (v1.RESET_PERIOD_DAY, v1.RESET_PERIOD_YEAR):
        user_id, feature_id = subscriber(clocked, 5, period)
        end = time(clocked.create_usage_event(user_id, feature_id, 4).consumption.resets_at)
        clock.set(end)
        back = clocked.create_usage_event(user_id, feature_id, -3)
        assert (back.applied_delta, back.consumption.used) == (0, 0)
        total = clocked.create_usage_event(user_id, feature_id, 2, action=v1.USAGE_ACTION_SET)
        assert (total.applied_delta, total.consumption.used) == (2, 2)
        assert [past.used for past in clocked.show_usage(user_id, feature_id).past] == [4]


def test_periods_run_from_a_start_in_the_past(clocked: Client, clock: Clock) -> None:
    now = go_to(clock, 3, 15, leap=False)
    start = now - timedelta(days=1000)
    for period, length in LENGTHS.items():
        user_id, feature_id = subscriber(clocked, 5, period, started_at=start)
        counts = clocked.can_use(user_id, feature_id).consumption
        number = next(number for number in range(25_000) if start + length * (number + 1) > now)
        assert time(counts.period_start) == start + length * number
        assert time(counts.resets_at) == start + length * (number + 1)


def test_a_start_is_kept_to_the_millisecond(clocked: Client, clock: Clock) -> None:
    start = clock.now().replace(microsecond=123_999) - timedelta(seconds=1)
    user_id, feature_id = subscriber(clocked, 5, v1.RESET_PERIOD_HOUR, started_at=start)
    cut = start.replace(microsecond=123_000)
    [subscription] = clocked.list_subscriptions(user_id)
    assert time(subscription.started_at) == cut
    assert time(clocked.can_use(user_id, feature_id).consumption.resets_at) == cut + timedelta(hours=1)


def test_the_entitlements_are_listed_as_of_the_current_period(clocked: Client, clock: Clock) -> None:
    for period in (v1.RESET_PERIOD_WEEK, v1.RESET_PERIOD_MONTH):
        user_id, feature_id = subscriber(clocked, 5, period)
        clocked.use_feature(user_id, feature_id, 5)
        [before] = clocked.list_entitlements(user_id)
        assert not before.access
        clock.set(time(before.consumption.resets_at))
        [after] = clocked.list_entitlements(user_id)
        assert (after.access, after.consumption.used) == (True, 0)
        assert after.consumption == clocked.can_use(user_id, feature_id).consumption


def test_the_manual_clock_stands_still_and_only_goes_forwards(clocked_stubs: Stubs, clock: Clock) -> None:
    stub, now = testing.ClockServiceStub(clocked_stubs.channel), clock.now()
    refused = failure(stub.SetTime, testing.SetTimeRequest(time=moment(now - MILLISECOND)))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["time"])
    assert clock.now() == now
    clock.set(now)
    assert clock.advance(milliseconds=1) == now + MILLISECOND


def test_there_is_no_clock_to_move_on_the_system_clock(stubs: Stubs) -> None:
    stub = testing.ClockServiceStub(stubs.channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetTime(testing.GetTimeRequest())
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
