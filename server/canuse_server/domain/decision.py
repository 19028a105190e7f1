"""The decision that every check makes.

The scripts make the same decision in `lib/account.lua` and `lib/decision.lua`; a property test compares the two.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance, left_in_all
from canuse_server.domain.model import MAX_AMOUNT, Reason
from canuse_server.domain.periods import CLOCKS_DIFFER_MS, Period

# Looking a member up in its class takes Python 3.11 as long as the decision.
_WITHIN_BUDGET: Final = Reason.WITHIN_BUDGET


class TotalOutOfRangeError(Exception):
    """The used and reserved amounts and the requested one together exceed `MAX_AMOUNT`."""


class Counter(NamedTuple):
    """The amount used since the start of a period."""

    used: int
    period_start_ms: int


class Reservation(NamedTuple):
    """The units that leases reserve in a period. Each period with leases has a number, its epoch."""

    epoch: int
    period_start_ms: int
    units: int


# Not frozen, for speed: see Entitlement.
@dataclass(slots=True)
class FeatureState:
    """The state of a feature of a user at a moment. `entitlement` None: the user has none."""

    disabled: bool
    archived: bool
    entitlement: Entitlement | None
    counter: Counter | None
    now_ms: int
    grants: tuple[GrantBalance, ...] = ()
    reservation: Reservation | None = None
    _current: tuple[Period, int, int] | None = field(default=None, init=False, repr=False, compare=False)

    def current(self) -> tuple[Period, int, int]:
        """Return the current period, the amount used in it, and the part of that amount drawn from grants.

        A counter of a period ahead of the clock keeps its period, so that a clock that steps back (a failover to a
        machine whose clock is behind) does not reset a count twice.
        """
        if self._current is None:
            assert self.entitlement is not None
            period, used, drawn = self.entitlement.period_at(self.now_ms), 0, 0
            if self.counter is not None and self.counter.period_start_ms >= period.start_ms:
                used, since_ms = self.counter
                if since_ms > period.start_ms:
                    period = self.entitlement.period_at(since_ms)
                if self.grants:
                    drawn = sum(grant.drawn for grant in self.grants)
            self._current = period, used, drawn
        return self._current

    def reserved(self) -> int:
        """Return the units that leases reserve in the current period; leases of a past period reserve nothing."""
        if self.reservation is None or self.entitlement is None:
            return 0
        start_ms = self.entitlement.period_at(self.now_ms).start_ms
        if self.counter is not None:
            start_ms = max(start_ms, self.counter.period_start_ms)
        return self.reservation.units if self.reservation.period_start_ms == start_ms else 0

    def budget(self) -> int | None:
        """Return the budget of this period: the limit, the amount drawn from grants and the amount left in them."""
        assert self.entitlement is not None
        limit = self.entitlement.limit
        if not self.grants:
            return limit
        left = left_in_all(self.grants, self.now_ms)
        _, used, drawn = self.current()
        if self.entitlement.granted:
            # The package gives nothing more, but the use that it covered already is not charged to the grants.
            covered = max(0, used - drawn)
            limit = covered if limit is None else min(limit, covered)
        if limit is None or left is None:
            return None
        return min(limit + drawn + left, MAX_AMOUNT)


def runs_ahead(entitlement: Entitlement, counter: Counter | None, now_ms: int) -> bool:
    """Whether the entitlement or the counter was written under a clock that was too far ahead.

    A counter of the next period is accepted, since clocks may differ a little; a counter of a later period is not.
    """
    if entitlement.period.start_ms > now_ms + CLOCKS_DIFFER_MS:
        return True
    if counter is None or not entitlement.consumable:
        return False
    end_ms = entitlement.period_at(now_ms).end_ms
    return end_ms is not None and counter.period_start_ms > end_ms


def decide(feature_state: FeatureState, delta: int) -> Reason:
    """Return the reason for which the use of an amount is allowed or denied.

    Raises:
        TotalOutOfRangeError: the use is allowed, but the total would exceed `MAX_AMOUNT`.
    """
    entitlement, disabled, archived = feature_state.entitlement, feature_state.disabled, feature_state.archived
    if entitlement is None or not entitlement.consumable:
        return access_denial(disabled, archived, None if entitlement is None else entitlement.active) or Reason.INCLUDED
    total = feature_state.current()[1] + feature_state.reserved() + delta
    reason = access_denial(disabled, archived, entitlement.active) or budget_reason(
        feature_state.budget(), total, entitlement.overage_enabled
    )
    if reason < Reason.NOT_ENTITLED and total > MAX_AMOUNT:
        raise TotalOutOfRangeError
    return reason


def access_denial(disabled: bool, archived: bool, active: bool | None) -> Reason | None:
    """Return the reason for denial that does not depend on the used amount, or None; `active` None: no entitlement."""
    if disabled:
        return Reason.USER_DISABLED
    if archived:
        return Reason.FEATURE_ARCHIVED
    if active is None:
        return Reason.NOT_ENTITLED
    return None if active else Reason.SUBSCRIPTION_INACTIVE


def budget_reason(budget: int | None, total: int, overage_enabled: bool) -> Reason:
    """Return the reason for a total under a budget; None is unlimited."""
    if budget is None:
        return Reason.UNLIMITED
    if total <= budget:
        return _WITHIN_BUDGET
    return Reason.OVERAGE if overage_enabled else Reason.BUDGET_EXCEEDED
