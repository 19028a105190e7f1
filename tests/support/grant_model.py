"""A plain second implementation of how uses draw from grants and return to them, for tests to compare with."""

from typing import NamedTuple

from canuse_server.domain.decision import FeatureState
from canuse_server.domain.grants import GrantBalance


class Balances(NamedTuple):
    """A count, and the grants of its feature in drawing order."""

    used: int
    grants: tuple[GrantBalance, ...]


def current(feature_state: FeatureState) -> Balances:
    """Return the count of the current period, and the grants: what was drawn in earlier periods stays drawn."""
    period, used, _ = feature_state.current()
    counter, grants = feature_state.counter, feature_state.grants
    if counter is not None and counter.period_start_ms < period.start_ms:
        grants = tuple(grant._replace(drawn=0) for grant in grants)
    return Balances(used, grants)


def after(feature_state: FeatureState, total: int) -> Balances:
    """Return the balances after a total is recorded."""
    used, grants = current(feature_state)
    drawn = sum(grant.drawn for grant in grants)
    package = of_package(feature_state)
    if total > used:
        needed = 0 if package is None else max(0, total - package - drawn)
        return Balances(total, _drawn(grants, needed, feature_state.now_ms))
    beyond = 0 if package is None else max(0, used - package - drawn)
    return Balances(total, _given_back(grants, max(0, used - total - beyond)))


def budget(feature_state: FeatureState, balances: Balances) -> int | None:
    """Return what package and grants have given in the period and still give; None means unlimited."""
    package = of_package(feature_state, balances)
    left = [grant.left for grant in balances.grants if grant.is_open(feature_state.now_ms)]
    if package is None or None in left:
        return None
    given = sum(grant.drawn for grant in balances.grants)
    return min(2**53 - 1, package + given + sum(amount for amount in left if amount is not None))


def of_package(feature_state: FeatureState, balances: Balances | None = None) -> int | None:
    """Return the package's share: its limit, or where only grants give access, what it gave before."""
    assert feature_state.entitlement is not None
    limit = feature_state.entitlement.limit
    if not feature_state.entitlement.granted:
        return limit
    used, grants = balances or current(feature_state)
    borne = used - sum(grant.drawn for grant in grants)
    return borne if limit is None else min(limit, borne)


def _drawn(grants: tuple[GrantBalance, ...], needed: int, now_ms: int) -> tuple[GrantBalance, ...]:
    found = []
    for grant in grants:
        take = 0
        if grant.is_open(now_ms):
            take = needed if grant.left is None else min(needed, grant.left)
        needed -= take
        left = None if grant.left is None else grant.left - take
        found.append(grant._replace(left=left, drawn=grant.drawn + take))
    return tuple(found)


def _given_back(grants: tuple[GrantBalance, ...], amount: int) -> tuple[GrantBalance, ...]:
    found = []
    for grant in reversed(grants):
        give = min(amount, grant.drawn)
        amount -= give
        left = None if grant.left is None else grant.left + give
        found.append(grant._replace(left=left, drawn=grant.drawn - give))
    return tuple(reversed(found))
