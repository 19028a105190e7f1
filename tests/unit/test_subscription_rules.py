"""The status of a subscription at a moment, and which subscriptions a user may have at the same time."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse_server.domain.model import (
    Package,
    PackageFeature,
    PackageType,
    ResetPeriod,
    Subscription,
    SubscriptionStatus,
)
from canuse_server.domain.subscriptions import (
    counts_at,
    end_ms,
    next_change_ms,
    overlapping_bases,
    period_end_ms,
    status_at,
)
from support.strategies import ms, statuses, subscriptions

START, TRIAL_END, CANCEL = 1000, 2000, 3000
SOON: Final = st.integers(0, 12)
"""So few moments that every combination can be tried."""
FOREVER: Final = range(40)
ACCESS: Final = (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING)
OVER: Final = (SubscriptionStatus.CANCELLED, SubscriptionStatus.INCOMPLETE_EXPIRED)
hundreds = settings(max_examples=150, deadline=None)


def subscription(
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE,
    trial_end_ms: int | None = None,
    cancel_at_ms: int | None = None,
    *,
    token: str = "t",
    package_id: str = "base",
    started_at_ms: int = START,
) -> Subscription:
    """Return a subscription."""
    return Subscription(token, package_id, 1, status, started_at_ms, trial_end_ms, cancel_at_ms)


def package(*reset_periods: ResetPeriod, kind: PackageType = PackageType.BASE, package_id: str = "base") -> Package:
    """Return a package with a feature for each reset period."""
    features = tuple(PackageFeature(f"f{number}", 1, period) for number, period in enumerate(reset_periods))
    return Package(id=package_id, created_at_ms=0, type=kind, features=features)


BASE, ADD_ON = package(), package(kind=PackageType.ADD_ON, package_id="add-on")
PACKAGES = {("base", 1): BASE, ("add-on", 1): ADD_ON}


def test_a_trial_shows_as_cancelled_from_the_very_moment_it_ends() -> None:
    trial = subscription(SubscriptionStatus.TRIALING, TRIAL_END)
    assert status_at(trial, TRIAL_END - 1) == SubscriptionStatus.TRIALING
    assert status_at(trial, TRIAL_END) == SubscriptionStatus.CANCELLED


@pytest.mark.parametrize("status", [status for status in SubscriptionStatus if status not in OVER])
def test_a_cancellation_with_a_date_takes_effect_at_that_moment_whatever_the_status(status: SubscriptionStatus) -> None:
    dated = subscription(status, trial_end_ms=CANCEL + 5, cancel_at_ms=CANCEL)
    assert status_at(dated, CANCEL - 1) == status
    assert status_at(dated, CANCEL) == SubscriptionStatus.CANCELLED


@pytest.mark.parametrize("status", OVER)
def test_what_is_over_keeps_its_status(status: SubscriptionStatus) -> None:
    assert status_at(subscription(status, TRIAL_END, CANCEL), CANCEL + 1) == status


@pytest.mark.parametrize("status", [status for status in SubscriptionStatus if status != SubscriptionStatus.TRIALING])
def test_the_end_of_a_trial_ends_trials_only(status: SubscriptionStatus) -> None:
    assert end_ms(subscription(status, TRIAL_END)) is None
    assert status_at(subscription(status, TRIAL_END), TRIAL_END + 1) == status


def test_whatever_ends_first_ends_a_trial() -> None:
    assert end_ms(subscription(SubscriptionStatus.TRIALING, TRIAL_END, CANCEL)) == TRIAL_END
    assert end_ms(subscription(SubscriptionStatus.TRIALING, CANCEL, TRIAL_END)) == TRIAL_END


@given(subscriptions("t", ("base",), SOON), st.sampled_from(FOREVER))
@hundreds
def test_a_subscription_counts_while_it_is_active_or_trialing_from_its_start_to_its_end(
    item: Subscription, now_ms: int
) -> None:
    cancelled = item.cancel_at_ms is not None and item.cancel_at_ms <= now_ms
    trial_over = (
        item.status == SubscriptionStatus.TRIALING and item.trial_end_ms is not None and item.trial_end_ms <= now_ms
    )
    counts = item.status in ACCESS and item.started_at_ms <= now_ms and not cancelled and not trial_over
    assert counts_at(item, now_ms) == counts


@given(subscriptions("t", ("base",), SOON), st.sampled_from(FOREVER))
@hundreds
def test_nothing_changes_before_the_next_change(item: Subscription, now_ms: int) -> None:
    change_ms = next_change_ms(item, now_ms)
    assert change_ms is None or change_ms > now_ms
    until_ms = FOREVER.stop if change_ms is None else change_ms
    stood = {(counts_at(item, moment), status_at(item, moment)) for moment in range(now_ms, until_ms)}
    assert stood <= {(counts_at(item, now_ms), status_at(item, now_ms))}


@pytest.mark.parametrize("status", OVER)
def test_an_ended_subscription_does_not_end_again(status: SubscriptionStatus) -> None:
    assert next_change_ms(subscription(status, TRIAL_END, CANCEL), START) is None


@given(
    st.lists(st.builds(replace, subscriptions("", ("base", "add-on"), SOON), token=st.uuids().map(str)), max_size=4),
    st.sampled_from(FOREVER),
)
@hundreds
def test_two_bases_are_two_too_many_exactly_where_both_hold_at_some_moment_from_now_on(
    items: list[Subscription], now_ms: int
) -> None:
    # The API sets no end before a start that is still to come: a subscription cancelled early ends now.
    items = [item for item in items if not _ends_unstarted(item, now_ms)]
    bases = [item for item in items if item.package_id == "base"]
    assert bool(overlapping_bases(items, PACKAGES, now_ms)) == any(
        sum(_holds(item, moment, now_ms) for item in bases) > 1 for moment in FOREVER
    )


def _ends_unstarted(item: Subscription, now_ms: int) -> bool:
    end = end_ms(item)
    return end is not None and now_ms < end <= item.started_at_ms


def _holds(item: Subscription, moment: int, now_ms: int) -> bool:
    """Whether a subscription, paid for or not, occupies the place of a base package from a moment on."""
    return moment >= now_ms and item.started_at_ms <= moment and status_at(item, moment) not in OVER


@pytest.mark.parametrize("status", [status for status in SubscriptionStatus if status not in OVER])
def test_a_base_that_is_not_paid_for_still_takes_up_its_place(status: SubscriptionStatus) -> None:
    first = subscription(status, trial_end_ms=CANCEL, token="a")
    assert overlapping_bases([first, subscription(token="b")], PACKAGES, START)


@pytest.mark.parametrize("status", OVER)
def test_a_base_that_is_over_makes_room_for_another(status: SubscriptionStatus) -> None:
    assert not overlapping_bases([subscription(status, token="a"), subscription(token="b")], PACKAGES, START)


def test_a_base_can_follow_another_at_the_moment_that_one_ends() -> None:
    first = subscription(cancel_at_ms=CANCEL, token="a")
    assert not overlapping_bases([first, subscription(started_at_ms=CANCEL, token="b")], PACKAGES, START)
    assert overlapping_bases([first, subscription(started_at_ms=CANCEL - 1, token="b")], PACKAGES, START)


def test_any_number_of_add_ons_goes_with_a_base() -> None:
    add_ons = [subscription(token=f"a{number}", package_id="add-on") for number in range(5)]
    assert not overlapping_bases([subscription(), *add_ons], PACKAGES, START)


def day(*parts: int) -> int:
    """Return a day in milliseconds."""
    return ms(datetime(*parts, tzinfo=UTC))  # type: ignore[misc, arg-type]


def test_the_period_of_a_subscription_is_the_longest_in_its_package() -> None:
    item = subscription(started_at_ms=day(2024, 1, 31))
    now_ms = day(2024, 2, 10)
    hours_and_months = package(ResetPeriod.HOUR, ResetPeriod.MONTH, ResetPeriod.NEVER, ResetPeriod.WEEK)
    assert period_end_ms(item, hours_and_months, now_ms) == day(2024, 2, 29)
    assert period_end_ms(item, package(ResetPeriod.MONTH, ResetPeriod.YEAR), now_ms) == day(2025, 1, 31)
    assert period_end_ms(item, package(ResetPeriod.DAY, ResetPeriod.WEEK), now_ms) == day(2024, 2, 14)
    assert period_end_ms(item, package(ResetPeriod.HOUR), now_ms) == now_ms + 3_600_000


def test_the_period_of_a_trial_is_the_trial() -> None:
    trial = subscription(SubscriptionStatus.TRIALING, TRIAL_END)
    assert period_end_ms(trial, package(ResetPeriod.HOUR), START) == TRIAL_END
    paid = replace(trial, status=SubscriptionStatus.ACTIVE)
    assert period_end_ms(paid, package(ResetPeriod.HOUR), START) == START + 3_600_000


def test_where_nothing_resets_there_is_no_period_to_end() -> None:
    assert period_end_ms(subscription(), package(ResetPeriod.NEVER), START) is None
    assert period_end_ms(subscription(), package(), START) is None


@given(statuses, st.sampled_from(FOREVER))
def test_a_subscription_without_dates_keeps_its_status_for_ever(status: SubscriptionStatus, later_ms: int) -> None:
    item = subscription(status, started_at_ms=0)
    assert status_at(item, later_ms) == status
    assert next_change_ms(item, later_ms) is None
