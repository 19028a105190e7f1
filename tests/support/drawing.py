"""How uses draw from grants and what they give back, once more and as plainly as can be, for tests to compare with."""

from typing import NamedTuple

from canuse_server.domain.decision import Standing
from canuse_server.domain.grants import GrantBalance


class Balances(NamedTuple):
    """A count, and the grants of its feature in the order in which they are drawn from."""

    used: int
    grants: tuple[GrantBalance, ...]


def current(standing: Standing) -> Balances:
    """Return what was used in the current period, and the grants: what was drawn before it stays drawn."""
    period, used, _ = standing.current()
    counter, grants = standing.counter, standing.grants
    if counter is not None and counter.period_start_ms < period.start_ms:
        grants = tuple(grant._replace(drawn=0) for grant in grants)
    return Balances(used, grants)


def after(standing: Standing, total: int) -> Balances:
    """Return what is there once a total is recorded."""
    used, grants = current(standing)
    drawn = sum(grant.drawn for grant in grants)
    package = of_package(standing)
    if total > used:
        wanted = 0 if package is None else max(0, total - package - drawn)
        return Balances(total, _drawn(grants, wanted, standing.now_ms))
    beyond = 0 if package is None else max(0, used - package - drawn)
    return Balances(total, _given_back(grants, max(0, used - total - beyond)))


def budget(standing: Standing, balances: Balances) -> int | None:
    """Return what package and grants gave in the period and still give; None: no limit."""
    package = of_package(standing, balances)
    left = [grant.left for grant in balances.grants if grant.is_open(standing.now_ms)]
    if package is None or None in left:
        return None
    given = sum(grant.drawn for grant in balances.grants)
    return min(2**53 - 1, package + given + sum(amount for amount in left if amount is not None))


def of_package(standing: Standing, balances: Balances | None = None) -> int | None:
    """Return what the package gives: its limit, or where grants alone give access what it gave already."""
    assert standing.entitlement is not None
    limit = standing.entitlement.limit
    if not standing.entitlement.granted:
        return limit
    used, grants = balances or current(standing)
    bore = used - sum(grant.drawn for grant in grants)
    return bore if limit is None else min(limit, bore)


def _drawn(grants: tuple[GrantBalance, ...], wanted: int, now_ms: int) -> tuple[GrantBalance, ...]:
    found = []
    for grant in grants:
        take = 0
        if grant.is_open(now_ms):
            take = wanted if grant.left is None else min(wanted, grant.left)
        wanted -= take
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
