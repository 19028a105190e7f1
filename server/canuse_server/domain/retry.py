"""When a denied use will be allowed if nothing but time changes.

`lib/retry.lua` has the same rule for uses; a property test compares the two.
"""

from dataclasses import replace

from canuse_server.domain.decision import FeatureState, TotalOutOfRangeError, decide
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import ResetPeriod
from canuse_server.domain.periods import Period


def retry_at_ms(*charges: tuple[FeatureState, int]) -> int | None:
    """Return the first moment at which amounts that are denied now will all be allowed; None if none is known.

    Time changes a decision when the period ends, a grant starts or ends, or a subscription starts. None is returned
    where the entitlement does not tell what applies next, and where leases may release the missing units earlier.
    """
    if any(state.entitlement is None or state.disabled or state.archived for state, _ in charges):
        return None
    for moment_ms in sorted({moment for state, _ in charges for moment in _moments(state)}):
        later = [(_state_at(state, moment_ms), delta) for state, delta in charges]
        known = [(state, delta) for state, delta in later if state is not None]
        if len(known) < len(later):
            return None
        if all(_allows(replace(state, reservation=None), delta) for state, delta in known):
            return moment_ms if all(_allows(state, delta) for state, delta in known) else None
    return None


def _moments(state: FeatureState) -> list[int]:
    """Return now, and the later moments at which the decision can change, as far as they are known."""
    assert state.entitlement is not None
    moments = [state.now_ms, state.entitlement.valid_until_ms, *(grant.effective_at_ms for grant in state.grants)]
    if state.entitlement.consumable:
        moments.append(state.current()[0].end_ms)
    return [moment for moment in moments if moment is not None and moment >= state.now_ms]


def _state_at(state: FeatureState, moment_ms: int) -> FeatureState | None:
    """Return the state at a later moment if nothing but time changes it; None if that is not known."""
    entitlement = state.entitlement
    assert entitlement is not None
    valid_until_ms = entitlement.valid_until_ms
    if valid_until_ms is None or moment_ms < valid_until_ms:
        return replace(state, now_ms=moment_ms)
    if moment_ms > valid_until_ms or not entitlement.predictable:
        return None
    return replace(state, now_ms=moment_ms, entitlement=_renewed(entitlement, state.grants, moment_ms))


def _renewed(entitlement: Entitlement, grants: tuple[GrantBalance, ...], moment_ms: int) -> Entitlement:
    """Return the entitlement that follows a predictable one at the end of its validity."""
    is_new_period = entitlement.period_at(moment_ms).end_ms == moment_ms
    period = Period(moment_ms, None) if is_new_period else entitlement.period
    counted = entitlement.active and not entitlement.granted
    if counted or _subscription_starts(entitlement, grants, moment_ms):
        return replace(entitlement, active=True, granted=False, period=period, valid_until_ms=None)
    is_open = any(grant.is_open(moment_ms) for grant in grants)
    return replace(
        entitlement, active=is_open, granted=is_open, overage_enabled=False, period=period, valid_until_ms=None
    )


def _subscription_starts(entitlement: Entitlement, grants: tuple[GrantBalance, ...], moment_ms: int) -> bool:
    """Whether a predictable entitlement without an active subscription ends with the start of one."""
    return (
        entitlement.reset_period == ResetPeriod.NEVER
        and entitlement.period.end_ms == moment_ms
        and not any(moment_ms in (grant.effective_at_ms, grant.end_ms) for grant in grants)
    )


def _allows(state: FeatureState, delta: int) -> bool:
    try:
        return decide(state, delta).access
    except TotalOutOfRangeError:
        return False
