"""The rule that every check follows.

`store/scripts/record_usage.lua` follows the same one; a property test holds the two equal.
"""

from dataclasses import dataclass

from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance, left_in_all
from canuse_server.domain.model import MAX_AMOUNT, Reason
from canuse_server.domain.periods import Period


class TotalOutOfRangeError(Exception):
    """What was used, with this amount on top, would pass `MAX_AMOUNT`."""


@dataclass(frozen=True, slots=True)
class Counter:
    """What was used since the start of a period."""

    used: int
    period_start_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a user stands with a feature at a moment. `entitlement` None: there is none."""

    disabled: bool
    archived: bool
    entitlement: Entitlement | None
    counter: Counter | None
    now_ms: int
    grants: tuple[GrantBalance, ...] = ()

    def current(self) -> tuple[Period, int, int]:
        """Return the current period, what was used in it, and how much of that was drawn from grants.

        A counter that is ahead of the clock keeps its period: a clock that steps back (a failover to a machine whose
        clock is behind) never resets a count twice.
        """
        assert self.entitlement is not None
        period = self.entitlement.period_at(self.now_ms)
        if self.counter is None or self.counter.period_start_ms < period.start_ms:
            return period, 0, 0
        if self.counter.period_start_ms > period.start_ms:
            period = self.entitlement.period_at(self.counter.period_start_ms)
        return period, self.counter.used, sum(grant.drawn for grant in self.grants)

    def budget(self) -> int | None:
        """Return what may be used in this period: the limit, what grants gave in it and what they still give."""
        assert self.entitlement is not None
        limit, left = self.entitlement.limit, left_in_all(self.grants, self.now_ms)
        _, used, drawn = self.current()
        if self.entitlement.granted:
            # The package gives nothing more, but what it bore already does not weigh on the grants.
            borne = max(0, used - drawn)
            limit = borne if limit is None else min(limit, borne)
        if limit is None or left is None:
            return None
        return min(limit + drawn + left, MAX_AMOUNT)


def decide(standing: Standing, delta: int) -> Reason:
    """Say whether an amount may be used.

    Raises:
        TotalOutOfRangeError: it may, but the total would pass `MAX_AMOUNT`.
    """
    entitlement = standing.entitlement
    if standing.disabled:
        return Reason.USER_DISABLED
    if standing.archived:
        return Reason.FEATURE_ARCHIVED
    if entitlement is None:
        return Reason.NOT_ENTITLED
    if not entitlement.active:
        return Reason.SUBSCRIPTION_INACTIVE
    if not entitlement.consumable:
        return Reason.INCLUDED
    total = standing.current()[1] + delta
    budget = standing.budget()
    if budget is None:
        reason = Reason.UNLIMITED
    elif total <= budget:
        reason = Reason.WITHIN_BUDGET
    else:
        reason = Reason.OVERAGE if entitlement.overage_enabled else Reason.BUDGET_EXCEEDED
    if reason.access and total > MAX_AMOUNT:
        raise TotalOutOfRangeError
    return reason
