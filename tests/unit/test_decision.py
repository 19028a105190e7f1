"""The decision rule of every check."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse_server.domain.decision import Counter, FeatureState, Reservation, TotalOutOfRangeError, decide
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import MAX_AMOUNT, Reason, ResetPeriod
from canuse_server.domain.periods import Period
from support.strategies import amounts, balances, entitlements, granted, ms

NOW: Final = ms(datetime(2026, 3, 5, tzinfo=UTC))
DAY: Final = 86_400_000
FIVE_A_DAY: Final = Entitlement(
    consumable=True,
    active=True,
    limit=5,
    overage_enabled=False,
    reset_period=ResetPeriod.DAY,
    period=Period(NOW - 3 * DAY, NOW - 2 * DAY),
    valid_until_ms=None,
)
UNLIMITED: Final = replace(FIVE_A_DAY, limit=None)


def feature_state(entitlement: Entitlement | None = FIVE_A_DAY, used: int = 0, **others: bool) -> FeatureState:
    """Return the state of a user who has used so much today."""
    return FeatureState(
        disabled=others.get("disabled", False),
        archived=others.get("archived", False),
        entitlement=entitlement,
        counter=Counter(used, NOW),
        now_ms=NOW,
    )


def test_the_budget_can_be_used_up_to_the_last_unit_and_not_beyond() -> None:
    assert decide(feature_state(used=3), 2) == Reason.WITHIN_BUDGET
    assert decide(feature_state(used=3), 3) == Reason.BUDGET_EXCEEDED
    assert decide(feature_state(used=5), 1) == Reason.BUDGET_EXCEEDED
    assert decide(feature_state(replace(FIVE_A_DAY, limit=0)), 1) == Reason.BUDGET_EXCEEDED


def test_overage_lets_use_go_past_the_budget_and_says_so() -> None:
    overage = replace(FIVE_A_DAY, overage_enabled=True)
    assert decide(feature_state(overage, used=4), 1) == Reason.WITHIN_BUDGET
    assert decide(feature_state(overage, used=5), 1) == Reason.OVERAGE


def test_what_has_no_limit_is_unlimited() -> None:
    assert decide(feature_state(UNLIMITED, used=10**15), 10**15) == Reason.UNLIMITED


def test_a_binary_feature_is_included_and_its_amount_ignored() -> None:
    binary = replace(UNLIMITED, consumable=False, reset_period=ResetPeriod.NEVER)
    assert decide(feature_state(binary), MAX_AMOUNT) == Reason.INCLUDED


def test_reasons_are_looked_at_in_their_documented_order() -> None:
    inactive = replace(FIVE_A_DAY, active=False)
    assert decide(feature_state(None, disabled=True, archived=True), 1) == Reason.USER_DISABLED
    assert decide(feature_state(disabled=True), 1) == Reason.USER_DISABLED
    assert decide(feature_state(None, archived=True), 1) == Reason.FEATURE_ARCHIVED
    assert decide(feature_state(archived=True), 1) == Reason.FEATURE_ARCHIVED
    assert decide(feature_state(None), 1) == Reason.NOT_ENTITLED
    assert decide(feature_state(inactive, used=5), 1) == Reason.SUBSCRIPTION_INACTIVE
    assert decide(feature_state(replace(inactive, consumable=False)), 1) == Reason.SUBSCRIPTION_INACTIVE
    assert decide(feature_state(replace(inactive, limit=None)), 1) == Reason.SUBSCRIPTION_INACTIVE


@pytest.mark.parametrize("entitlement", [UNLIMITED, replace(FIVE_A_DAY, overage_enabled=True)])
def test_a_yes_that_would_take_the_total_past_the_largest_amount_is_refused(entitlement: Entitlement) -> None:
    assert decide(feature_state(entitlement, used=MAX_AMOUNT - 1), 1).access
    with pytest.raises(TotalOutOfRangeError):
        decide(feature_state(entitlement, used=MAX_AMOUNT), 1)
    with pytest.raises(TotalOutOfRangeError):
        decide(feature_state(entitlement, used=1), MAX_AMOUNT)


def test_a_refusal_stays_a_refusal_however_large_the_amount() -> None:
    assert decide(feature_state(used=MAX_AMOUNT), MAX_AMOUNT) == Reason.BUDGET_EXCEEDED
    assert decide(feature_state(UNLIMITED, used=MAX_AMOUNT, disabled=True), 1) == Reason.USER_DISABLED


def test_a_count_of_an_earlier_period_does_not_count_any_more() -> None:
    yesterday = replace(feature_state(), counter=Counter(5, NOW - DAY))
    assert yesterday.current() == (Period(NOW, NOW + DAY), 0, 0)
    assert decide(yesterday, 5) == Reason.WITHIN_BUDGET
    assert replace(yesterday, counter=None).current() == (Period(NOW, NOW + DAY), 0, 0)


def test_a_count_ahead_of_the_clock_keeps_its_period_so_that_nothing_resets_twice() -> None:
    tomorrow = replace(feature_state(), counter=Counter(5, NOW + DAY))
    assert tomorrow.current() == (Period(NOW + DAY, NOW + 2 * DAY), 5, 0)
    assert decide(tomorrow, 1) == Reason.BUDGET_EXCEEDED


def with_grants(*grants: GrantBalance, used: int = 0, **changes: bool | int | None) -> FeatureState:
    """Return the state of a user with five a day and some grants."""
    entitlement = replace(FIVE_A_DAY, **changes)  # type: ignore[arg-type]
    return replace(feature_state(entitlement, used), grants=grants)


OPEN: Final = GrantBalance(NOW - DAY, None, 3, 0)
UNLIMITED_GRANT: Final = OPEN._replace(left=None)


def test_what_open_grants_still_give_comes_on_top_of_the_package() -> None:
    closed = OPEN._replace(effective_at_ms=NOW + 1), OPEN._replace(end_ms=NOW), UNLIMITED_GRANT._replace(end_ms=NOW)
    both = with_grants(OPEN, *closed, OPEN._replace(left=4), used=2)
    assert both.budget() == 12
    assert decide(both, 10) == Reason.WITHIN_BUDGET
    assert decide(both, 11) == Reason.BUDGET_EXCEEDED
    assert with_grants(OPEN._replace(effective_at_ms=NOW, end_ms=NOW + 1)).budget() == 8


def test_what_was_drawn_in_the_period_stays_in_the_budget_also_of_a_grant_that_has_ended() -> None:
    drawn = with_grants(OPEN._replace(left=1, drawn=2), OPEN._replace(end_ms=NOW, left=9, drawn=4), used=11)
    assert drawn.budget() == 5 + 2 + 1 + 4
    assert decide(drawn, 1) == Reason.WITHIN_BUDGET
    assert decide(drawn, 2) == Reason.BUDGET_EXCEEDED


def test_what_was_drawn_before_the_period_is_neither_in_the_count_nor_in_the_budget() -> None:
    yesterday = replace(with_grants(OPEN._replace(left=1, drawn=2), used=7), counter=Counter(7, NOW - DAY))
    assert (yesterday.current(), yesterday.budget()) == ((Period(NOW, NOW + DAY), 0, 0), 6)


def test_an_unlimited_grant_lifts_the_limit_while_it_is_open() -> None:
    assert decide(with_grants(OPEN, UNLIMITED_GRANT), 10**9) == Reason.UNLIMITED
    # It ended a moment ago. What was drawn from it does not reduce the package's budget.
    assert with_grants(UNLIMITED_GRANT._replace(end_ms=NOW, drawn=100), used=105).budget() == 105


def test_where_grants_alone_give_access_the_package_gives_nothing_more_but_what_it_gave_does_not_weigh() -> None:
    alone = with_grants(OPEN, used=4, granted=True)
    assert (alone.budget(), decide(alone, 3), decide(alone, 4)) == (7, Reason.WITHIN_BUDGET, Reason.BUDGET_EXCEEDED)
    lifted = with_grants(OPEN, used=4, granted=True, limit=None)
    assert lifted.budget() == 7
    # What exceeded the package's budget does reduce it.
    assert with_grants(OPEN, used=7, granted=True).budget() == 8


def test_overage_begins_beyond_the_grants() -> None:
    overage = with_grants(OPEN, used=6, overage_enabled=True)
    assert (decide(overage, 2), decide(overage, 3)) == (Reason.WITHIN_BUDGET, Reason.OVERAGE)


def test_a_budget_ends_at_the_largest_amount() -> None:
    assert with_grants(OPEN._replace(left=MAX_AMOUNT), OPEN._replace(left=MAX_AMOUNT)).budget() == MAX_AMOUNT
    with pytest.raises(TotalOutOfRangeError):
        decide(with_grants(UNLIMITED_GRANT, used=1), MAX_AMOUNT)
    assert decide(with_grants(OPEN._replace(left=MAX_AMOUNT), used=1), MAX_AMOUNT) == Reason.BUDGET_EXCEEDED


def test_reasons_below_ten_are_a_yes_and_the_others_a_no() -> None:
    assert {reason for reason in Reason if reason.access} == {
        Reason.INCLUDED,
        Reason.WITHIN_BUDGET,
        Reason.UNLIMITED,
        Reason.OVERAGE,
    }
    assert all(reason.access == (reason < 10) for reason in Reason)


@given(entitlements(NOW), amounts, amounts, amounts.filter(bool), st.lists(balances(NOW), max_size=3))
@settings(max_examples=150, deadline=None)
def test_whoever_may_use_an_amount_may_use_a_smaller_one_and_may_have_used_less(
    entitlement: Entitlement, used: int, less: int, delta: int, grants: list[GrantBalance]
) -> None:
    counter = Counter(used, entitlement.period_at(NOW).start_ms)
    if any(grant.is_open(NOW) for grant in grants) and delta % 2:
        entitlement = granted(entitlement)
    found = replace(feature_state(entitlement), counter=counter, grants=tuple(grants))
    try:
        access = decide(found, delta).access
    except TotalOutOfRangeError:
        return
    if access:
        smaller = replace(found, counter=counter._replace(used=min(used, less)))
        assert decide(smaller, min(delta, less + 1)).access


@given(entitlements(NOW), amounts.filter(bool))
def test_a_total_is_within_the_budget_exactly_up_to_the_limit(entitlement: Entitlement, total: int) -> None:
    entitlement = replace(entitlement, active=True, granted=False)
    reason = decide(feature_state(entitlement), total)
    assert (reason == Reason.UNLIMITED) == (entitlement.limit is None)
    if entitlement.limit is not None:
        assert (reason == Reason.WITHIN_BUDGET) == (total <= entitlement.limit)
        assert (reason == Reason.OVERAGE) == (total > entitlement.limit and entitlement.overage_enabled)


@given(entitlements(NOW), amounts, amounts, amounts.filter(bool))
@settings(max_examples=150, deadline=None)
def test_what_is_reserved_of_the_current_period_weighs_like_what_was_used(
    entitlement: Entitlement, used: int, units: int, delta: int
) -> None:
    start_ms = entitlement.period_at(NOW).start_ms
    plain = FeatureState(
        disabled=False,
        archived=False,
        entitlement=entitlement,
        counter=Counter(used + units, start_ms),
        now_ms=NOW,
    )
    reserved = replace(plain, counter=Counter(used, start_ms), reservation=Reservation(1, start_ms, units))
    assert (reserved.current()[1], reserved.reserved(), plain.reserved()) == (used, units, 0)
    assert _decided(reserved, delta) == _decided(plain, delta)


def _decided(found: FeatureState, delta: int) -> Reason | None:
    try:
        return decide(found, delta)
    except TotalOutOfRangeError:
        return None


def test_what_is_reserved_of_another_period_weighs_nothing() -> None:
    for start_ms in (NOW - DAY, NOW - 1, NOW + DAY):
        other = replace(feature_state(used=2), reservation=Reservation(1, start_ms, 9))
        assert other.reserved() == 0
        assert decide(other, 3) == Reason.WITHIN_BUDGET
    ahead = replace(feature_state(), counter=Counter(1, NOW + DAY), reservation=Reservation(1, NOW + DAY, 4))
    assert ahead.reserved() == 4
    assert decide(ahead, 1) == Reason.BUDGET_EXCEEDED
    assert replace(feature_state(None), reservation=Reservation(1, NOW, 4)).reserved() == 0
