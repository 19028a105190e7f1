"""The entitlements of a user, computed from subscriptions and grants."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import permutations
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse_server.domain.entitlements import Entitlement, resolve
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import FeatureType, Package, PackageFeature, ResetPeriod, Subscription
from canuse_server.domain.model import SubscriptionStatus as Status
from canuse_server.domain.periods import Period, period_at
from canuse_server.domain.subscriptions import Packages, counts_at
from canuse_server.store.repositories.manual_clock import LATEST_MS
from support.strategies import FEATURES, ms, recent_moments, users

CONSUMABLE: Final = dict.fromkeys((*FEATURES, "f"), FeatureType.CONSUMABLE)
START: Final = ms(datetime(2026, 1, 31, tzinfo=UTC))
NOW: Final = ms(datetime(2026, 3, 5, tzinfo=UTC))
DAY: Final = 86_400_000
User = tuple[list[Subscription], Packages]
many = settings(max_examples=250, deadline=None)


def entry(limit: int | None = 10, reset: ResetPeriod = ResetPeriod.NEVER, *, overage: bool = False) -> PackageFeature:
    """Return an entry for the feature `f`."""
    return PackageFeature("f", limit, reset, overage)


def entitlement(
    *entries: PackageFeature, kind: FeatureType = FeatureType.CONSUMABLE, now_ms: int = NOW, **dates: int | Status
) -> Entitlement:
    """Return the entitlement to `f` of a user with a subscription for each entry, started a day after the other."""
    packages = {(f"p{number}", 1): Package(f"p{number}", 0, features=(item,)) for number, item in enumerate(entries)}
    subscriptions = [
        Subscription(f"t{number}", f"p{number}", 1, Status.ACTIVE, START + number * DAY)
        for number in range(len(entries))
    ]
    changed = [replace(item, **dates) for item in subscriptions]  # type: ignore[arg-type]
    return resolve(changed, packages, {"f": kind}, {}, now_ms)["f"]


def by_grants(*given: GrantBalance, now_ms: int = NOW, kind: FeatureType = FeatureType.CONSUMABLE) -> Entitlement:
    """Return the entitlement to `f` of a user with nothing but grants."""
    return resolve([], {}, {"f": kind}, {"f": given}, now_ms)["f"]


def grant(effective_at_ms: int = START, end_ms: int | None = None) -> GrantBalance:
    """Return a grant of which some is drawn."""
    return GrantBalance(effective_at_ms, end_ms, 7, 3)


def seen_at(entitlement: Entitlement, now_ms: int) -> tuple[object, ...]:
    """Return everything about an entitlement that is visible at a moment."""
    return (
        entitlement.consumable,
        entitlement.active,
        entitlement.granted,
        entitlement.limit,
        entitlement.overage_enabled,
        entitlement.reset_period,
        entitlement.period_at(now_ms),
    )


given_grants = st.dictionaries(
    st.sampled_from(FEATURES),
    st.lists(st.tuples(recent_moments, st.none() | recent_moments), min_size=1, max_size=4).map(
        lambda spans: tuple(grant(*span) for span in spans)
    ),
)
Given = dict[str, tuple[GrantBalance, ...]]


@given(users(), given_grants, recent_moments, st.sampled_from(FeatureType), st.data())
@many
def test_an_entitlement_holds_unchanged_until_the_moment_it_says(
    user: User, grants: Given, now_ms: int, kind: FeatureType, data: st.DataObject
) -> None:
    subscriptions, packages = user
    types = dict.fromkeys(FEATURES, kind)
    for feature_id, found in resolve(subscriptions, packages, types, grants, now_ms).items():
        until_ms = LATEST_MS if found.valid_until_ms is None else found.valid_until_ms
        assert until_ms > now_ms
        last = st.just(until_ms - 1) | st.integers(now_ms, until_ms - 1)
        dates = _dates(subscriptions, grants.get(feature_id, ()), now_ms, until_ms)
        later_ms = data.draw(last | st.sampled_from(dates), label="later")
        later = resolve(subscriptions, packages, types, grants, later_ms)[feature_id]
        if kind == FeatureType.CONSUMABLE:
            assert seen_at(later, later_ms) == seen_at(found, later_ms)
        else:
            assert later.active == found.active


def _dates(
    subscriptions: Iterable[Subscription], grants: Iterable[GrantBalance], first_ms: int, end_ms: int
) -> list[int]:
    """Return the moments at and around which something could change, within a span."""
    dates: list[tuple[int | None, ...]] = [
        (item.started_at_ms, item.trial_end_ms, item.cancel_at_ms) for item in subscriptions
    ]
    dates += [(item.effective_at_ms, item.end_ms) for item in grants]
    moments = [moment + step for some in dates for moment in some if moment is not None for step in (-1, 0, 1)]
    return [first_ms, *(moment for moment in moments if first_ms <= moment < end_ms)]


@given(users(), given_grants, recent_moments)
@many
def test_the_best_of_those_that_count_is_given(user: User, grants: Given, now_ms: int) -> None:
    subscriptions, packages = user
    found = resolve(subscriptions, packages, CONSUMABLE, grants, now_ms)
    listing = {
        feature_id: [
            (item, listed)
            for item in subscriptions
            for listed in packages[item.package_id, 1].features
            if listed.feature_id == feature_id
        ]
        for feature_id in FEATURES
    }
    unended = {key for key, items in grants.items() if not all(item.has_ended(now_ms) for item in items)}
    assert set(found) == {feature_id for feature_id, listed in listing.items() if listed} | unended
    for feature_id, given_ in found.items():
        pairs = [pair for pair in listing[feature_id] if counts_at(pair[0], now_ms)]
        by_a_grant = any(item.is_open(now_ms) for item in grants.get(feature_id, ()))
        assert given_.active == (bool(pairs) or by_a_grant)
        assert given_.granted == (not pairs and by_a_grant)
        if not pairs:
            continue
        limits = [listed.limit for _, listed in pairs]
        best = None if None in limits else max(limit for limit in limits if limit is not None)
        assert given_.limit == best
        # Reset period, overage rule and anchor are those of one subscription with this limit.
        assert (given_.reset_period, given_.overage_enabled, given_.period) in [
            (reset_period, listed.overage_enabled, period_at(item.started_at_ms, reset_period, now_ms))
            for item, listed in pairs
            if listed.limit == best and (reset_period := listed.known_reset_period)
        ]


def test_while_none_counts_one_that_may_count_again_comes_before_an_ended_one_and_that_before_a_future_one() -> None:
    """The limit of a cancelled plan applied to a user whose new plan was past due."""
    late = Subscription("late", "small", 1, Status.PAST_DUE, START)
    ended = Subscription("ended", "large", 1, Status.ACTIVE, START, cancel_at_ms=START + 1)
    future = Subscription("future", "huge", 1, Status.ACTIVE, NOW + 1)
    limits = {"small": 5, "large": 1000, "huge": 9000}
    packages = {(name, 1): Package(name, 0, features=(entry(limit),)) for name, limit in limits.items()}

    def limit(*items: Subscription) -> int | None:
        return resolve(items, packages, {"f": FeatureType.CONSUMABLE}, {}, NOW)["f"].limit

    assert limit(late, ended, future) == 5
    assert limit(ended, future) == 1000


@given(users(), given_grants, recent_moments)
@settings(max_examples=200, deadline=None)
def test_the_order_of_subscriptions_does_not_matter(user: User, grants: Given, now_ms: int) -> None:
    subscriptions, packages = user
    outcomes = [resolve(order, packages, CONSUMABLE, grants, now_ms) for order in permutations(subscriptions)]
    assert all(outcome == outcomes[0] for outcome in outcomes)


def test_the_highest_limit_wins_with_its_reset_period_and_overage_rule() -> None:
    found = entitlement(
        entry(5, ResetPeriod.DAY, overage=True), entry(7, ResetPeriod.WEEK), entry(6, ResetPeriod.HOUR, overage=True)
    )
    assert (found.limit, found.reset_period, found.overage_enabled) == (7, ResetPeriod.WEEK, False)


def test_unlimited_is_the_highest_limit() -> None:
    found = entitlement(entry(2**53 - 1, overage=True), entry(None, ResetPeriod.DAY), entry(0))
    assert (found.limit, found.reset_period) == (None, ResetPeriod.DAY)


def test_a_limit_of_nothing_is_not_unlimited() -> None:
    assert entitlement(entry(0)).limit == 0


def test_among_equal_limits_overage_wins_and_then_the_oldest_subscription() -> None:
    assert entitlement(entry(5), entry(5, overage=True), entry(5)).overage_enabled
    assert entitlement(entry(5), entry(5), entry(5)).period.start_ms == START


def test_between_two_that_are_alike_the_choice_is_always_the_same() -> None:
    packages = {
        ("p", 1): Package("p", 0, features=(entry(5),)),
        ("q", 1): Package("q", 0, features=(entry(5, ResetPeriod.DAY),)),
    }
    pair = [Subscription("a", "p", 1, Status.ACTIVE, START), Subscription("b", "q", 1, Status.ACTIVE, START)]
    assert resolve(pair, packages, CONSUMABLE, {}, NOW) == resolve(pair[::-1], packages, CONSUMABLE, {}, NOW)


@pytest.mark.parametrize("status", [status for status in Status if status not in (Status.ACTIVE, Status.TRIALING)])
def test_a_feature_that_only_subscriptions_that_do_not_count_list_is_inactive(status: Status) -> None:
    found = entitlement(entry(5, ResetPeriod.DAY), status=status)
    assert (found.active, found.limit, found.reset_period) == (False, 5, ResetPeriod.DAY)


def test_a_lower_limit_that_counts_goes_before_a_higher_one_that_does_not() -> None:
    packages = {
        ("low", 1): Package("low", 0, features=(entry(1),)),
        ("high", 1): Package("high", 0, features=(entry(),)),
    }
    low = Subscription("a", "low", 1, Status.ACTIVE, START)
    high = Subscription("b", "high", 1, Status.UNPAID, START)
    found = resolve([low, high], packages, CONSUMABLE, {}, NOW)["f"]
    assert (found.active, found.limit) == (True, 1)


def test_a_feature_in_no_package_of_the_user_is_not_there() -> None:
    assert resolve([], {}, CONSUMABLE, {}, NOW) == {}


def test_a_subscription_that_starts_later_gives_nothing_yet_and_says_from_when_on_it_will() -> None:
    found = entitlement(entry(reset=ResetPeriod.DAY), now_ms=START - 1)
    assert (found.active, found.valid_until_ms) == (False, START)
    # What is used before the start counts to a period of its own, not to the first one.
    assert found.period == Period(0, START)


def test_a_month_ends_the_validity_of_a_consumable_and_a_day_does_not() -> None:
    end_ms = ms(datetime(2026, 3, 31, tzinfo=UTC))
    assert entitlement(entry(reset=ResetPeriod.MONTH)).valid_until_ms == end_ms
    assert entitlement(entry(reset=ResetPeriod.DAY)).valid_until_ms is None
    assert entitlement(entry(reset=ResetPeriod.NEVER)).valid_until_ms is None
    assert entitlement(entry(), kind=FeatureType.BINARY, trial_end_ms=NOW + 5).valid_until_ms is None


def test_the_first_change_of_any_subscription_that_lists_the_feature_ends_the_validity() -> None:
    assert entitlement(entry(5), entry(9), cancel_at_ms=NOW + 7).valid_until_ms == NOW + 7
    trial = {"status": Status.TRIALING, "trial_end_ms": NOW + 3}
    assert entitlement(entry(), kind=FeatureType.BINARY, **trial).valid_until_ms == NOW + 3


def test_a_binary_feature_is_not_counted() -> None:
    assert not entitlement(entry(None), kind=FeatureType.BINARY).consumable


def test_a_period_of_fixed_length_rolls_on_and_a_calendar_period_stands() -> None:
    days, months = entitlement(entry(reset=ResetPeriod.DAY)), entitlement(entry(reset=ResetPeriod.MONTH))
    assert days.period_at(NOW + 10 * DAY) == Period(NOW + 10 * DAY, NOW + 11 * DAY)
    assert months.period_at(NOW + 10 * DAY) == months.period
    assert days.past_period(NOW - DAY) == Period(NOW - DAY, NOW)


# Grants.


def test_grants_alone_give_access_in_one_period_from_the_first_to_the_end_of_the_last() -> None:
    found = by_grants(grant(START, NOW + 5), grant(NOW - 3, NOW + 9), grant(START - 9 * DAY, START - 8 * DAY))
    assert (found.active, found.granted, found.limit, found.overage_enabled) == (True, True, 0, False)
    assert (found.reset_period, found.period) == (ResetPeriod.NEVER, Period(START, NOW + 9))
    # In between nothing changes but what is left, which each use computes anew.
    assert found.valid_until_ms == NOW + 9
    lasting = by_grants(grant(START, NOW + 5), grant(NOW))
    assert (lasting.period, lasting.valid_until_ms) == (Period(START, None), None)


def test_once_all_grants_have_ended_there_is_no_entitlement() -> None:
    over = {"f": (grant(START, NOW), grant(START, NOW - 1), grant(NOW + 5, NOW - 2))}
    assert resolve([], {}, CONSUMABLE, over, NOW) == {}
    assert resolve([], {}, CONSUMABLE, over, NOW - 1)["f"].active


def test_between_two_grants_there_is_no_access_and_a_use_is_counted_to_neither_of_them() -> None:
    """The count of the first continued into the gap, and was stored in a period since 1970."""
    found = by_grants(grant(START, NOW - 5), grant(NOW + 5))
    assert (found.active, found.granted, found.period, found.valid_until_ms) == (
        False,
        False,
        Period(NOW - 5, NOW + 5),
        NOW + 5,
    )


def test_a_grant_to_come_gives_nothing_yet() -> None:
    found = by_grants(grant(NOW + 1))
    assert (found.active, found.period, found.valid_until_ms) == (False, Period(0, NOW + 1), NOW + 1)


def test_a_grant_switches_a_binary_feature_on_until_it_ends() -> None:
    found = by_grants(grant(START, NOW + 1), kind=FeatureType.BINARY)
    assert (found.active, found.consumable, found.valid_until_ms) == (True, False, NOW + 1)


def beside_a_package(grants: tuple[GrantBalance, ...], **dates: int | Status) -> Entitlement:
    """Return the entitlement to `f` of a user with grants, and a package with ten a day and overage."""
    packages = {("p", 1): Package("p", 0, features=(entry(10, ResetPeriod.DAY, overage=True),))}
    item = replace(Subscription("t", "p", 1, Status.ACTIVE, START), **dates)  # type: ignore[arg-type]
    return resolve([item], packages, CONSUMABLE, {"f": grants}, NOW)["f"]


def test_beside_a_package_that_counts_grants_change_nothing_but_the_budget() -> None:
    found = beside_a_package((grant(START, NOW + 5), grant(NOW + 9)))
    assert found == beside_a_package(())
    assert (found.granted, found.valid_until_ms) == (False, None)


def test_the_grants_of_one_whose_package_does_not_count_give_access_in_its_periods_and_without_its_overage() -> None:
    found = beside_a_package((grant(START, NOW + 5),), status=Status.PAST_DUE)
    assert (found.active, found.granted, found.limit, found.overage_enabled) == (True, True, 10, False)
    assert (found.reset_period, found.period, found.valid_until_ms) == (
        ResetPeriod.DAY,
        period_at(START, ResetPeriod.DAY, NOW),
        NOW + 5,
    )
    closed = beside_a_package((grant(START, NOW - 5), grant(NOW + 9)), status=Status.PAST_DUE)
    assert (closed.active, closed.granted, closed.valid_until_ms) == (False, False, NOW + 9)


def test_until_a_subscription_starts_grants_count_in_a_period_of_their_own() -> None:
    """What was used of a grant continued into the period of the subscription, which began with it used up."""
    found = beside_a_package((grant(START, None),), started_at_ms=NOW + 5)
    assert (found.active, found.granted) == (True, True)
    assert (found.reset_period, found.period, found.valid_until_ms) == (
        ResetPeriod.NEVER,
        Period(START, NOW + 5),
        NOW + 5,
    )


def test_what_is_used_before_the_first_of_several_subscriptions_starts_counts_to_none_of_them() -> None:
    """It was counted up to the start of the best of them, and so into the first one's period."""
    starts = {"small": NOW + 5, "large": NOW + 9}
    packages = {(name, 1): Package(name, 0, features=(entry(limit),)) for name, limit in (("small", 1), ("large", 9))}
    items = [Subscription(name, name, 1, Status.ACTIVE, start) for name, start in starts.items()]
    assert resolve(items, packages, CONSUMABLE, {}, NOW)["f"].period == Period(0, NOW + 5)
