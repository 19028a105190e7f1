"""What happens to counts when a user's entitlements change: none is lost, none is doubled."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from canuse_server.domain.carry_over import CarryOver, carry_over, carry_over_one
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import ResetPeriod
from canuse_server.domain.periods import Period
from support.strategies import entitlements, ms, recent_moments

NOW: Final = ms(datetime(2026, 3, 5, 12, tzinfo=UTC))
DAY: Final = 86_400_000
MONTH: Final = Period(ms(datetime(2026, 2, 28, tzinfo=UTC)), ms(datetime(2026, 3, 28, tzinfo=UTC)))
MONTHLY: Final = Entitlement(
    consumable=True,
    active=True,
    limit=5,
    overage_enabled=False,
    reset_period=ResetPeriod.MONTH,
    period=MONTH,
    valid_until_ms=MONTH.end_ms,
)
DAILY: Final = replace(
    MONTHLY, reset_period=ResetPeriod.DAY, period=Period(NOW - 10 * DAY, NOW - 9 * DAY), valid_until_ms=None
)


def carried(before: Entitlement, after: Entitlement | None, now_ms: int = NOW) -> list[CarryOver]:
    """Return the carry-overs of a feature `f`."""
    return carry_over_one("f", before, after, now_ms)


def test_what_does_not_change_is_left_alone() -> None:
    assert carried(MONTHLY, MONTHLY) == []
    assert carried(DAILY, DAILY, NOW + 100 * DAY) == []


def test_a_binary_feature_has_no_count_to_carry_over() -> None:
    binary = replace(MONTHLY, consumable=False)
    assert carried(binary, None) == []
    assert carried(binary, replace(binary, active=False)) == []


def test_a_new_feature_has_nothing_to_carry_over() -> None:
    assert carry_over({}, lambda _: {}, {"f": MONTHLY}, ["f"], NOW) == []


def test_a_count_goes_on_under_the_new_rule_while_its_period_is_open() -> None:
    upgraded = replace(MONTHLY, limit=50)
    assert carried(MONTHLY, upgraded) == [CarryOver("f", MONTH.start_ms, 28 * DAY, 5, MONTH.start_ms)]
    assert carried(MONTHLY, upgraded, MONTH.start_ms) == carried(MONTHLY, upgraded)


def test_an_open_count_moves_to_the_period_of_another_anchor() -> None:
    other = replace(DAILY, period=Period(NOW - 3 * DAY + 5, NOW - 2 * DAY + 5))
    # Both roll over: the old one to the day that started at NOW, the new one to the day before NOW + 5.
    assert carried(DAILY, other) == [CarryOver("f", NOW, DAY, 5, NOW - DAY + 5)]
    assert carried(DAILY, MONTHLY) == [CarryOver("f", NOW, DAY, 5, MONTH.start_ms)]


def test_a_count_is_over_from_the_very_moment_its_period_ends() -> None:
    assert MONTH.end_ms is not None
    next_month = replace(MONTHLY, period=Period(MONTH.end_ms, MONTH.end_ms + 31 * DAY))
    assert carried(MONTHLY, next_month, MONTH.end_ms)[0].new_start_ms is None
    assert carried(MONTHLY, next_month, MONTH.end_ms - 1)[0].new_start_ms == MONTH.end_ms


def test_a_count_is_over_with_its_entitlement() -> None:
    assert carried(MONTHLY, None) == [CarryOver("f", MONTH.start_ms, NOW - MONTH.start_ms, 5, None)]
    assert MONTH.end_ms is not None
    assert carried(MONTHLY, None, MONTH.end_ms) == [CarryOver("f", MONTH.start_ms, 28 * DAY, 5, None)]


def test_a_count_of_an_earlier_day_keeps_that_day_when_its_entitlement_is_gone() -> None:
    assert carried(DAILY, None, NOW + 7) == [CarryOver("f", NOW, DAY, 5, NOW), CarryOver("f", NOW, 7, 5, None)]


def test_what_never_resets_goes_on_until_the_entitlement_is_gone() -> None:
    lasting = replace(MONTHLY, reset_period=ResetPeriod.NEVER, period=Period(MONTH.start_ms, None), valid_until_ms=None)
    paused = replace(lasting, active=False)
    assert carried(lasting, paused, NOW + 4000 * DAY) == [CarryOver("f", MONTH.start_ms, 0, 5, MONTH.start_ms)]
    assert carried(lasting, None) == [CarryOver("f", MONTH.start_ms, NOW - MONTH.start_ms, 5, None)]


def test_an_unlimited_budget_is_kept_as_none() -> None:
    assert carried(replace(MONTHLY, limit=None), None)[0].budget is None
    assert carried(replace(MONTHLY, limit=0), None)[0].budget == 0


@given(recent_moments, st.data())
@settings(max_examples=250, deadline=None)
def test_a_count_goes_on_exactly_where_its_period_is_open_and_there_is_one_to_go_on_in(
    now_ms: int, data: st.DataObject
) -> None:
    before = data.draw(entitlements(now_ms), label="before")
    after = data.draw(st.none() | entitlements(now_ms), label="after")
    found = carried(before, after, now_ms)
    if before == after:
        assert found == []
        return
    last, period = found[-1], before.period_at(now_ms)
    is_open = period.end_ms is None or now_ms < period.end_ms
    if after is None or not is_open:
        assert last.new_start_ms is None
    else:
        assert last.new_start_ms == after.period_at(now_ms).start_ms
    assert last.period_start_ms == period.start_ms
    end_ms = now_ms if after is None and is_open else period.end_ms
    assert last.length_ms == (0 if end_ms is None else max(0, end_ms - period.start_ms))
    assert last.budget == before.limit


def step_by_step(changes: dict[int, Entitlement], now_ms: int) -> list[CarryOver]:
    """Return the carry-overs of `f`, which was MONTHLY and has been changed at some moments since."""

    def at(moment_ms: int) -> dict[str, Entitlement]:
        return {"f": changes[moment_ms]}

    new = {"f": changes[max(changes)]}
    return carry_over({"f": replace(MONTHLY, valid_until_ms=min(changes))}, at, new, ["f"], now_ms)


def test_a_change_in_between_moves_a_count_at_its_moment_without_any_call() -> None:
    higher = replace(DAILY, limit=9, period=Period(NOW - DAY, NOW), valid_until_ms=NOW)
    later = replace(MONTHLY, limit=20, period=Period(NOW - DAY, NOW + 27 * DAY), valid_until_ms=NOW + 27 * DAY)
    assert step_by_step({NOW - DAY // 2: higher, NOW: later}, NOW + 20 * DAY) == [
        CarryOver("f", MONTH.start_ms, 28 * DAY, 5, NOW - DAY),
        # At NOW the day in which the count continued is over.
        CarryOver("f", NOW, DAY, 9, NOW - DAY),
    ]


def test_a_count_that_is_over_is_not_followed_any_further() -> None:
    assert MONTH.end_ms is not None
    months = {
        MONTH.end_ms + 31 * DAY * number: replace(
            MONTHLY,
            period=Period(MONTH.end_ms + 31 * DAY * number, MONTH.end_ms + 31 * DAY * (number + 1)),
            valid_until_ms=MONTH.end_ms + 31 * DAY * (number + 1),
        )
        for number in range(9)
    }
    assert step_by_step(months, MONTH.end_ms + 270 * DAY) == [CarryOver("f", MONTH.start_ms, 28 * DAY, 5, None)]


def test_what_is_not_counted_is_not_carried() -> None:
    assert carry_over({"f": MONTHLY}, lambda _: {}, {}, [], NOW + 400 * DAY) == []
