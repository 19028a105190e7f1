"""What a user has used in past periods and in the current one."""

from collections.abc import Iterable

from canuse_server.api.environment import Environment
from canuse_server.domain.past_periods import PastPeriod, kept
from canuse_server.store.repositories.users.state import UserState


def past_periods(env: Environment, state: UserState, feature_id: str, stored: Iterable[PastPeriod]) -> list[PastPeriod]:
    """Return the past periods of a feature in which something was used, oldest first."""
    rolled = _rolled(state, feature_id)
    found = kept([*stored, *([rolled] if rolled else ())], state.now_ms, env.retention.past_periods_max_age_ms)
    return [item for item in found if item.used]


def current_period(state: UserState, feature_id: str) -> PastPeriod | None:
    """Return the current period of a feature as if it were over now, with its real end; None if nothing was used."""
    entitlement, counter = state.entitlements.get(feature_id), state.counters.get(feature_id)
    if entitlement is None or counter is None or not entitlement.consumable or not counter.used:
        return None
    period = entitlement.period_at(max(state.now_ms, counter.period_start_ms))
    if counter.period_start_ms < period.start_ms:
        return None
    drawn = sum(grant.drawn for grant in state.grants.get(feature_id, ()))
    return PastPeriod(period, counter.used, entitlement.limit, drawn)


def _rolled(state: UserState, feature_id: str) -> PastPeriod | None:
    """Return the past period of a count that the next use moves to the past periods."""
    entitlement, counter = state.entitlements.get(feature_id), state.counters.get(feature_id)
    if entitlement is None or counter is None:
        return None
    if counter.period_start_ms >= entitlement.period_at(state.now_ms).start_ms:
        return None
    reservation = state.reservations.get(feature_id)
    if not counter.used and (reservation is None or reservation.period_start_ms != counter.period_start_ms):
        return None
    drawn = sum(grant.drawn for grant in state.grants.get(feature_id, ()))
    return PastPeriod(entitlement.past_period(counter.period_start_ms), counter.used, entitlement.limit, drawn)
