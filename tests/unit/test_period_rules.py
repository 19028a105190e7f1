"""Periods: `[start, end)`, counted from the anchor, correct by the calendar to the millisecond."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import example, given, settings
from hypothesis import strategies as st

from canuse_server.domain.model import ResetPeriod
from canuse_server.domain.periods import Period, months_after, period_at
from canuse_server.store.repositories.manual_clock import LATEST_MS
from support.strategies import EPOCH, moments, ms, reset_periods

CALENDAR = {ResetPeriod.MONTH: 1, ResetPeriod.YEAR: 12}
FIXED = {ResetPeriod.HOUR: 3_600_000, ResetPeriod.DAY: 86_400_000, ResetPeriod.WEEK: 604_800_000}
DAY_MS = 86_400_000
thousands = settings(max_examples=1000, deadline=None)
hundreds = settings(max_examples=250, deadline=None)


def at(*parts: int) -> int:
    """Return a moment in UTC in milliseconds."""
    return ms(datetime(*parts, tzinfo=UTC))  # type: ignore[misc, arg-type]


def moved(anchor_ms: int, months: int) -> int:
    """Return the anchor so many months later, by python-dateutil as the oracle."""
    return ms(EPOCH + timedelta(milliseconds=anchor_ms) + relativedelta(months=months))


def expected(anchor_ms: int, step: int, at_ms: int) -> Period:
    """Return the period of a moment by the oracle, each boundary counted from the anchor itself."""
    years = (EPOCH + timedelta(milliseconds=at_ms)).year - (EPOCH + timedelta(milliseconds=anchor_ms)).year
    first = max(0, years * 12 // step - 13)
    number = next(number for number in count(first) if moved(anchor_ms, (number + 1) * step) > at_ms)
    return Period(moved(anchor_ms, number * step), moved(anchor_ms, (number + 1) * step))


@st.composite
def anchors_and_moments(draw: st.DrawFn, step: int) -> tuple[int, int]:
    """An anchor and a moment after it, often within a millisecond of a boundary."""
    anchor_ms = draw(moments)
    years_left = 8999 - (EPOCH + timedelta(milliseconds=anchor_ms)).year
    boundary_ms = moved(anchor_ms, draw(st.integers(0, 12 * years_left // step)) * step)
    near_ms = boundary_ms + draw(st.sampled_from((-1, 0, 1)) | st.integers(-32 * DAY_MS, 32 * DAY_MS))
    at_ms = draw(st.just(near_ms) | moments)
    return anchor_ms, min(max(at_ms, anchor_ms), LATEST_MS)


@given(anchors_and_moments(1))
@thousands
def test_months_are_the_calendar_s_counted_from_the_anchor(case: tuple[int, int]) -> None:
    anchor_ms, at_ms = case
    period = period_at(anchor_ms, ResetPeriod.MONTH, at_ms)
    assert period == expected(anchor_ms, 1, at_ms)
    assert period.end_ms is not None
    assert period.start_ms <= at_ms < period.end_ms


@given(anchors_and_moments(12))
@thousands
def test_years_are_the_calendar_s_counted_from_the_anchor(case: tuple[int, int]) -> None:
    anchor_ms, at_ms = case
    period = period_at(anchor_ms, ResetPeriod.YEAR, at_ms)
    assert period == expected(anchor_ms, 12, at_ms)
    assert period.end_ms is not None
    assert period.start_ms <= at_ms < period.end_ms


@given(anchors_and_moments(1), st.sampled_from(sorted(FIXED)))
@hundreds
def test_hours_days_and_weeks_have_their_fixed_length(case: tuple[int, int], reset_period: ResetPeriod) -> None:
    anchor_ms, at_ms = case
    period = period_at(anchor_ms, reset_period, at_ms)
    assert period.end_ms == period.start_ms + FIXED[reset_period]
    assert period.start_ms <= at_ms < period.end_ms
    assert (period.start_ms - anchor_ms) % FIXED[reset_period] == 0


@given(anchors_and_moments(1), reset_periods.filter(lambda period: period != ResetPeriod.NEVER))
@hundreds
def test_each_period_starts_where_the_one_before_it_ends(case: tuple[int, int], reset_period: ResetPeriod) -> None:
    anchor_ms, at_ms = case
    period = period_at(anchor_ms, reset_period, at_ms)
    assert period.end_ms is not None
    following = period_at(anchor_ms, reset_period, period.end_ms)
    assert following.start_ms == period.end_ms
    assert period_at(anchor_ms, reset_period, period.end_ms - 1) == period
    assert period_at(anchor_ms, reset_period, period.start_ms) == period
    if period.start_ms > anchor_ms:
        assert period_at(anchor_ms, reset_period, period.start_ms - 1).end_ms == period.start_ms


@given(moments, st.integers(-4000, 4000))
@example(at(2024, 1, 31, 23, 59, 59) + 999, 1)
@hundreds
def test_some_months_after_a_moment_keep_its_time_of_day_to_the_millisecond(anchor_ms: int, months: int) -> None:
    years = (EPOCH + timedelta(milliseconds=anchor_ms)).year + months / 12
    if 1 < years < 9998:
        after_ms = months_after(anchor_ms, months)
        assert after_ms == moved(anchor_ms, months)
        assert after_ms % DAY_MS == anchor_ms % DAY_MS


@given(moments, st.integers(1, LATEST_MS), reset_periods)
@hundreds
def test_a_moment_before_the_anchor_counts_to_the_first_period(
    anchor_ms: int, before_ms: int, reset_period: ResetPeriod
) -> None:
    first = period_at(anchor_ms, reset_period, anchor_ms)
    assert first.start_ms == anchor_ms
    assert period_at(anchor_ms, reset_period, max(0, anchor_ms - before_ms)) == first


@given(moments, moments)
def test_what_never_resets_is_one_period_without_end(anchor_ms: int, at_ms: int) -> None:
    assert period_at(anchor_ms, ResetPeriod.NEVER, at_ms) == Period(anchor_ms, None)


@pytest.mark.parametrize(("year", "last_of_february"), [(2023, 28), (2024, 29), (2100, 28), (2400, 29)])
def test_a_month_from_31_january_ends_with_february_and_the_next_on_31_march(year: int, last_of_february: int) -> None:
    anchor_ms = at(year, 1, 31, 12, 30)
    end_of_february = at(year, 2, last_of_february, 12, 30)
    march, april = at(year, 3, 31, 12, 30), at(year, 4, 30, 12, 30)
    assert period_at(anchor_ms, ResetPeriod.MONTH, end_of_february - 1) == (anchor_ms, end_of_february)
    assert period_at(anchor_ms, ResetPeriod.MONTH, end_of_february) == (end_of_february, march)
    assert period_at(anchor_ms, ResetPeriod.MONTH, march) == (march, april)
    assert period_at(anchor_ms, ResetPeriod.MONTH, april) == (april, at(year, 5, 31, 12, 30))


def test_a_year_from_29_february_ends_on_the_28th_and_in_leap_years_on_the_29th() -> None:
    anchor_ms = at(2024, 2, 29)
    end_times = [at(2025, 2, 28), at(2026, 2, 28), at(2027, 2, 28), at(2028, 2, 29), at(2029, 2, 28)]
    starts = [anchor_ms, *end_times]
    assert [period_at(anchor_ms, ResetPeriod.YEAR, start) for start in starts[:-1]] == list(
        zip(starts, end_times, strict=False)
    )
    assert period_at(anchor_ms, ResetPeriod.YEAR, end_times[0] - 1).start_ms == anchor_ms


def test_the_last_periods_that_canuse_can_reach_have_an_end() -> None:
    latest_ms = at(9000, 1, 1)
    assert period_at(at(2024, 2, 29), ResetPeriod.YEAR, latest_ms) == (at(8999, 2, 28), at(9000, 2, 28))
    assert period_at(latest_ms, ResetPeriod.MONTH, latest_ms) == (latest_ms, at(9000, 2, 1))
    assert period_at(latest_ms, ResetPeriod.YEAR, latest_ms) == (latest_ms, at(9001, 1, 1))


def test_a_day_goes_from_the_time_of_the_anchor_not_from_midnight() -> None:
    anchor_ms = at(2026, 3, 28, 17, 45, 1, 7000)
    assert period_at(anchor_ms, ResetPeriod.DAY, at(2026, 3, 30, 12)) == (
        at(2026, 3, 29, 17, 45, 1, 7000),
        at(2026, 3, 30, 17, 45, 1, 7000),
    )
