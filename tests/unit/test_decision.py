"""The rule that every check follows."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import given, settings

from canuse_server.domain.decision import Counter, Standing, TotalOutOfRangeError, decide
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import MAX_AMOUNT, Reason, ResetPeriod
from canuse_server.domain.periods import Period
from support.strategies import amounts, entitlements, ms

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


def standing(entitlement: Entitlement | None = FIVE_A_DAY, used: int = 0, **others: bool) -> Standing:
    """Return how a user stands who has used so much today."""
    return Standing(
        disabled=others.get("disabled", False),
        archived=others.get("archived", False),
        entitlement=entitlement,
        counter=Counter(used, NOW),
        now_ms=NOW,
    )


def test_the_budget_can_be_used_up_to_the_last_unit_and_not_beyond() -> None:
    assert decide(standing(used=3), 2) == Reason.WITHIN_BUDGET
    assert decide(standing(used=3), 3) == Reason.BUDGET_EXCEEDED
    assert decide(standing(used=5), 1) == Reason.BUDGET_EXCEEDED
    assert decide(standing(replace(FIVE_A_DAY, limit=0)), 1) == Reason.BUDGET_EXCEEDED


def test_overage_lets_use_go_past_the_budget_and_says_so() -> None:
    overage = replace(FIVE_A_DAY, overage_enabled=True)
    assert decide(standing(overage, used=4), 1) == Reason.WITHIN_BUDGET
    assert decide(standing(overage, used=5), 1) == Reason.OVERAGE


def test_what_has_no_limit_is_unlimited() -> None:
    assert decide(standing(UNLIMITED, used=10**15), 10**15) == Reason.UNLIMITED


def test_a_binary_feature_is_included_and_its_amount_ignored() -> None:
    binary = replace(UNLIMITED, consumable=False, reset_period=ResetPeriod.NEVER)
    assert decide(standing(binary), MAX_AMOUNT) == Reason.INCLUDED


def test_reasons_are_looked_at_in_their_documented_order() -> None:
    inactive = replace(FIVE_A_DAY, active=False)
    assert decide(standing(None, disabled=True, archived=True), 1) == Reason.USER_DISABLED
    assert decide(standing(disabled=True), 1) == Reason.USER_DISABLED
    assert decide(standing(None, archived=True), 1) == Reason.FEATURE_ARCHIVED
    assert decide(standing(archived=True), 1) == Reason.FEATURE_ARCHIVED
    assert decide(standing(None), 1) == Reason.NOT_ENTITLED
    assert decide(standing(inactive, used=5), 1) == Reason.SUBSCRIPTION_INACTIVE
    assert decide(standing(replace(inactive, consumable=False)), 1) == Reason.SUBSCRIPTION_INACTIVE
    assert decide(standing(replace(inactive, limit=None)), 1) == Reason.SUBSCRIPTION_INACTIVE


@pytest.mark.parametrize("entitlement", [UNLIMITED, replace(FIVE_A_DAY, overage_enabled=True)])
def test_a_yes_that_would_take_the_total_past_the_largest_amount_is_refused(entitlement: Entitlement) -> None:
    assert decide(standing(entitlement, used=MAX_AMOUNT - 1), 1).access
    with pytest.raises(TotalOutOfRangeError):
        decide(standing(entitlement, used=MAX_AMOUNT), 1)
    with pytest.raises(TotalOutOfRangeError):
        decide(standing(entitlement, used=1), MAX_AMOUNT)


def test_a_no_stays_a_no_however_large_the_amount() -> None:
    assert decide(standing(used=MAX_AMOUNT), MAX_AMOUNT) == Reason.BUDGET_EXCEEDED
    assert decide(standing(UNLIMITED, used=MAX_AMOUNT, disabled=True), 1) == Reason.USER_DISABLED


def test_a_count_of_an_earlier_period_does_not_count_any_more() -> None:
    yesterday = replace(standing(), counter=Counter(5, NOW - DAY))
    assert yesterday.current() == (Period(NOW, NOW + DAY), 0, 0)
    assert decide(yesterday, 5) == Reason.WITHIN_BUDGET
    assert replace(yesterday, counter=None).current() == (Period(NOW, NOW + DAY), 0, 0)


def test_a_count_ahead_of_the_clock_keeps_its_period_so_that_nothing_resets_twice() -> None:
    tomorrow = replace(standing(), counter=Counter(5, NOW + DAY))
    assert tomorrow.current() == (Period(NOW + DAY, NOW + 2 * DAY), 5, 0)
    assert decide(tomorrow, 1) == Reason.BUDGET_EXCEEDED


def test_reasons_below_ten_are_a_yes_and_the_others_a_no() -> None:
    assert {reason for reason in Reason if reason.access} == {
        Reason.INCLUDED,
        Reason.WITHIN_BUDGET,
        Reason.UNLIMITED,
        Reason.OVERAGE,
    }
    assert all(reason.access == (reason < 10) for reason in Reason)


@given(entitlements(NOW), amounts, amounts, amounts.filter(bool))
@settings(max_examples=300, deadline=None)
def test_whoever_may_use_an_amount_may_use_a_smaller_one_and_may_have_used_less(
    entitlement: Entitlement, used: int, less: int, delta: int
) -> None:
    counter = Counter(used, entitlement.period_at(NOW).start_ms)
    found = Standing(disabled=False, archived=False, entitlement=entitlement, counter=counter, now_ms=NOW)
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
    reason = decide(standing(entitlement), total)
    assert (reason == Reason.UNLIMITED) == (entitlement.limit is None)
    if entitlement.limit is not None:
        assert (reason == Reason.WITHIN_BUDGET) == (total <= entitlement.limit)
        assert (reason == Reason.OVERAGE) == (total > entitlement.limit and entitlement.overage_enabled)
