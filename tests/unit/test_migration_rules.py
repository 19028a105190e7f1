"""The subscriptions that a migration moves, and what counts as less access."""

from dataclasses import replace

import pytest

from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.migration import Move, shrinks
from canuse_server.domain.model import ResetPeriod, Subscription, SubscriptionStatus
from canuse_server.domain.periods import Period

NOW_MS = 1_000_000
ACTIVE = Subscription("a", "pro", 1, SubscriptionStatus.ACTIVE, started_at_ms=0)
GIVEN = Entitlement(
    consumable=True,
    active=True,
    limit=5,
    overage_enabled=False,
    reset_period=ResetPeriod.NEVER,
    period=Period(0, None),
    valid_until_ms=None,
)

SWITCH = replace(GIVEN, consumable=False, limit=None)


@pytest.mark.parametrize(
    ("subscription", "move", "moves"),
    [
        (ACTIVE, Move("pro", 0, 2), True),
        (ACTIVE, Move("pro", 1, 2), True),
        (ACTIVE, Move("pro", 3, 2), False),
        (ACTIVE, Move("pro", 0, 1), False),
        (ACTIVE, Move("other", 0, 2), False),
        (replace(ACTIVE, package_version=3), Move("pro", 0, 2), True),
        (replace(ACTIVE, started_at_ms=NOW_MS + 1), Move("pro", 0, 2), True),
        (replace(ACTIVE, cancel_at_ms=NOW_MS + 1), Move("pro", 0, 2), True),
        (replace(ACTIVE, cancel_at_ms=NOW_MS), Move("pro", 0, 2), False),
        (replace(ACTIVE, status=SubscriptionStatus.TRIALING, trial_end_ms=NOW_MS), Move("pro", 0, 2), False),
        (replace(ACTIVE, trial_end_ms=NOW_MS), Move("pro", 0, 2), True),
    ],
)
def test_subscriptions_that_move_are_on_another_version_and_have_not_ended(
    subscription: Subscription, move: Move, moves: bool
) -> None:
    other = replace(ACTIVE, token="b", package_id="else")
    expected = (replace(subscription, package_version=move.to_version),) if moves else ()
    assert move.of([other, subscription], NOW_MS) == expected


@pytest.mark.parametrize(
    ("before", "after", "less"),
    [
        (GIVEN, GIVEN, False),
        (GIVEN, None, True),
        (GIVEN, replace(GIVEN, active=False), True),
        (GIVEN, replace(GIVEN, limit=4), True),
        (GIVEN, replace(GIVEN, limit=None), False),
        (replace(GIVEN, limit=None), GIVEN, True),
        (replace(GIVEN, overage_enabled=True), GIVEN, True),
        (replace(GIVEN, active=False), None, False),
        (replace(GIVEN, active=False), replace(GIVEN, active=False, limit=0), False),
        # Where only grants give access, the limit is that of an earlier package.
        (GIVEN, replace(GIVEN, limit=9, granted=True), True),
        (replace(GIVEN, limit=9, granted=True), replace(GIVEN, limit=1), False),
        (SWITCH, replace(SWITCH, granted=True), False),
        (SWITCH, None, True),
    ],
)
def test_less_is_a_lower_limit_no_access_or_no_overage_any_more(
    before: Entitlement, after: Entitlement | None, less: bool
) -> None:
    steady = {"steady": GIVEN}
    assert shrinks({"f": before, **steady}, steady if after is None else {"f": after, **steady}) == less
