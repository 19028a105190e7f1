"""Grants alone: when they are open, in which order they are drawn from, and the spans that they cover."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse_server.domain.grants import GrantBalance, coverage_at, left_in_all
from canuse_server.domain.model import MAX_AMOUNT, Grant
from canuse_server.domain.periods import Period

FOREVER = 10**15
spans = st.tuples(st.integers(0, 20), st.none() | st.integers(0, 24))


def balance(effective_at_ms: int, end_ms: int | None, left: int | None = 5) -> GrantBalance:
    """Return a grant from which nothing was drawn."""
    return GrantBalance(effective_at_ms, end_ms, left, 0)


def grant(grant_id: str, priority: int = 0, expires_at_ms: int | None = None) -> Grant:
    """Return a grant that has begun."""
    return Grant(grant_id, "f", 5, 0, 0, priority=priority, expires_at_ms=expires_at_ms)


def test_a_grant_is_open_from_its_first_moment_to_its_last() -> None:
    item = balance(10, 20)
    assert [item.is_open(moment) for moment in (9, 10, 19, 20)] == [False, True, True, False]
    assert [item.has_ended(moment) for moment in (9, 19, 20)] == [False, False, True]
    assert balance(10, None).is_open(FOREVER)


def test_a_grant_that_is_revoked_before_it_begins_never_opens() -> None:
    for end_ms in (3, 10):
        item = balance(10, end_ms)
        assert item.never_opens()
        assert item.has_ended(0)
        assert not any(item.is_open(moment) for moment in range(30))
    assert not balance(10, 11).never_opens()
    assert not balance(10, None).never_opens()


def test_a_grant_ends_when_it_expires_or_is_revoked_whichever_comes_first() -> None:
    assert Grant("g", "f", 1, 0, 0).end_ms is None
    assert Grant("g", "f", 1, 0, 0, expires_at_ms=9).end_ms == 9
    assert Grant("g", "f", 1, 0, 0, expires_at_ms=9, revoked_at_ms=5).end_ms == 5
    assert Grant("g", "f", 1, 0, 0, expires_at_ms=9, revoked_at_ms=11).end_ms == 9


def test_grants_are_drawn_from_by_priority_then_expiry_then_id() -> None:
    expected = [grant("z", 0, 5), grant("b", 0, 9), grant("c", 0, 9), grant("a"), grant("y", 1, 1), grant("a2", 1)]
    for order in permutations(expected):
        assert sorted(order, key=Grant.order) == expected


def test_what_grants_give_together_is_what_the_open_ones_have_left() -> None:
    assert left_in_all([], 5) == 0
    assert left_in_all([balance(0, None, 3), balance(6, None, 100), balance(0, 5, 100), balance(5, 6, 4)], 5) == 7
    assert left_in_all([balance(0, None, 3), balance(0, 6, None)], 5) is None
    assert left_in_all([balance(0, None, 3), balance(0, 5, None)], 5) == 3
    assert left_in_all([balance(0, None, MAX_AMOUNT)] * 3, 5) == 3 * MAX_AMOUNT


@given(st.lists(spans, max_size=6), st.integers(0, 30))
@settings(max_examples=400, deadline=None)
def test_coverage_is_the_whole_time_around_a_moment_with_a_grant_throughout_or_with_none(
    found: list[tuple[int, int | None]], now_ms: int
) -> None:
    grants = [balance(effective_at_ms, end_ms) for effective_at_ms, end_ms in found]
    is_open = [any(item.is_open(moment) for item in grants) for moment in range(40)]
    start = end = now_ms
    while start > 0 and is_open[start - 1] == is_open[now_ms]:
        start -= 1
    while end < 40 and is_open[end] == is_open[now_ms]:
        end += 1
    assert coverage_at(grants, now_ms) == Period(start, None if end == 40 else end)


@pytest.mark.parametrize("now_ms", [0, 12, 25, 39])
def test_what_a_grant_that_never_opens_says_of_time_does_not_count(now_ms: int) -> None:
    """A use before a grant that was revoked in advance was counted to a period of its own."""
    revoked = balance(20, 12)
    grants = [balance(40, 50), revoked]
    assert coverage_at(grants, now_ms) == coverage_at([balance(40, 50)], now_ms) == Period(0, 40)
