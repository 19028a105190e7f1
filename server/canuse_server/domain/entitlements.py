"""What a user may use, worked out of their subscriptions: the highest limit wins."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from canuse_server.domain.grants import GrantBalance, stretch_at
from canuse_server.domain.model import FeatureType, PackageFeature, ResetPeriod, Subscription
from canuse_server.domain.periods import FIXED_LENGTH_MS, Period, period_at
from canuse_server.domain.subscriptions import Packages, counts_at, has_ended, next_change_ms


# Not frozen: every check makes one, and a frozen one takes four times as long to make.
@dataclass(slots=True)
class Entitlement:
    """What a user may use of one feature, good until `valid_until_ms` (None: until it is replaced).

    `period` is the one that the entitlement was made in. Fixed-length periods roll on from it by themselves; a calendar
    period ends the entitlement's validity with its own end. `limit` None is unlimited. `granted` is whether grants
    alone give access: then the limit, of a package that gives nothing now, only tells what it bore of the count.
    """

    consumable: bool
    active: bool
    limit: int | None
    overage_enabled: bool
    reset_period: ResetPeriod
    period: Period
    valid_until_ms: int | None
    granted: bool = False

    def period_at(self, now_ms: int) -> Period:
        """Return the period of a moment within the entitlement's validity."""
        start_ms, end_ms = self.period
        if end_ms is None or now_ms < end_ms or self.reset_period not in FIXED_LENGTH_MS:
            return self.period
        return period_at(start_ms, self.reset_period, now_ms)

    def past_period(self, start_ms: int) -> Period:
        """Return the past period that started at a moment; that may be before the entitlement was made."""
        length_ms = FIXED_LENGTH_MS.get(self.reset_period)
        return Period(start_ms, self.period.start_ms if length_ms is None else start_ms + length_ms)


@dataclass(frozen=True, slots=True)
class _Candidate:
    subscription: Subscription
    entry: PackageFeature
    is_known: bool
    """Whether this version of canuse knows all of what the package is and gives."""

    def counts(self, now_ms: int) -> bool:
        return self.is_known and counts_at(self.subscription, now_ms)

    def rank(self) -> tuple[bool, int, bool, int, str]:
        """Order candidates: unlimited, then the higher limit, then overage; the rest only makes the choice stable."""
        entry, subscription = self.entry, self.subscription
        return (
            entry.limit is None,
            entry.limit or 0,
            entry.overage_enabled,
            -subscription.started_at_ms,
            subscription.token,
        )


Grants = Mapping[str, tuple[GrantBalance, ...]]
"""A user's grants by feature id, in the order in which they are drawn from."""


def resolve(
    subscriptions: Iterable[Subscription],
    packages: Packages,
    types: Mapping[str, FeatureType | int],
    grants: Grants,
    now_ms: int,
) -> dict[str, Entitlement]:
    """Work out a user's entitlements as of now, by feature id.

    A feature that only subscriptions that do not count list is there too, inactive: what is recorded then still has a
    period to count in. So is one of a type that only a newer version of canuse knows, and what a package gives in a way
    that only that knows: counts are kept, and there is no access.
    """
    by_feature: dict[str, list[_Candidate]] = {
        feature_id: [] for feature_id, given in grants.items() if not all(grant.has_ended(now_ms) for grant in given)
    }
    by_feature |= _candidates(subscriptions, packages)
    return {
        feature_id: _entitlement(
            candidates, grants.get(feature_id, ()), types[feature_id] != FeatureType.BINARY, now_ms
        )
        for feature_id, candidates in by_feature.items()
    }


def winning_subscription(
    subscriptions: Iterable[Subscription], packages: Packages, feature_id: str, now_ms: int
) -> Subscription | None:
    """Return the subscription whose entry of a feature holds now, or None where none counts."""
    candidates = [
        candidate for candidate in _candidates(subscriptions, packages).get(feature_id, ()) if candidate.counts(now_ms)
    ]
    return max(candidates, key=_Candidate.rank).subscription if candidates else None


def holding_subscription(
    subscriptions: Iterable[Subscription], packages: Packages, feature_id: str, now_ms: int
) -> Subscription | None:
    """Return the subscription in whose periods a feature is counted, also where none counts; None: there is none."""
    candidates = _candidates(subscriptions, packages).get(feature_id, [])
    counting = [candidate for candidate in candidates if candidate.counts(now_ms)]
    best = max(counting, key=_Candidate.rank) if counting else _best_of_inactive(candidates, now_ms)
    return None if best is None else best.subscription


def without_effect(subscriptions: Iterable[Subscription], packages: Packages, now_ms: int) -> list[Subscription]:
    """Return the subscriptions that have ended and that no entitlement is made from, now or later.

    Where none counts, uses are counted in the periods of the one that ended and ranks highest: it is needed. One that
    ended before its start may become that one with its start.
    """
    ended = [subscription for subscription in subscriptions if has_ended(subscription, now_ms)]
    needed: set[str] = set()
    for candidates in _candidates(ended, packages).values():
        candidates.sort(key=_Candidate.rank, reverse=True)
        candidates.sort(key=lambda candidate: max(candidate.subscription.started_at_ms, now_ms))
        highest = None
        for candidate in candidates:
            if highest is None or candidate.rank() > highest:
                highest = candidate.rank()
                needed.add(candidate.subscription.token)
    return [subscription for subscription in ended if subscription.token not in needed]


def _candidates(subscriptions: Iterable[Subscription], packages: Packages) -> dict[str, list[_Candidate]]:
    """Return what subscriptions list, by feature id."""
    found: dict[str, list[_Candidate]] = {}
    for subscription in subscriptions:
        package = packages[subscription.package_id, subscription.package_version]
        is_known = package.is_known
        for entry in package.features:
            candidate = _Candidate(subscription, entry, is_known and entry.known_reset_period is not None)
            found.setdefault(entry.feature_id, []).append(candidate)
    return found


def _entitlement(
    candidates: list[_Candidate], grants: tuple[GrantBalance, ...], consumable: bool, now_ms: int
) -> Entitlement:
    counting = [candidate for candidate in candidates if candidate.counts(now_ms)]
    best = max(counting, key=_Candidate.rank) if counting else _best_of_inactive(candidates, now_ms)
    if best is None or best.subscription.started_at_ms > now_ms:
        # What is used now counts to no period of a subscription that is to start, and grants have nothing to reset.
        start_ms, end_ms = stretch_at(grants, now_ms)
        ends = [end_ms, *(candidate.subscription.started_at_ms for candidate in candidates)]
        period = Period(start_ms, min((end for end in ends if end is not None), default=None))
        reset_period = ResetPeriod.NEVER
    else:
        reset_period = best.entry.known_reset_period or ResetPeriod.NEVER
        period = period_at(best.subscription.started_at_ms, reset_period, now_ms)
    granted = not counting and any(grant.is_open(now_ms) for grant in grants)
    changes = [next_change_ms(candidate.subscription, now_ms) for candidate in candidates]
    if not counting:
        # Here grants decide about access. Else they only add to the budget, which is worked out anew each time.
        changes.append(stretch_at(grants, now_ms).end_ms)
    if consumable and reset_period not in FIXED_LENGTH_MS:
        changes.append(period.end_ms)
    return Entitlement(
        consumable=consumable,
        active=bool(counting) or granted,
        granted=granted,
        limit=0 if best is None else best.entry.limit,
        overage_enabled=best is not None and not granted and best.entry.overage_enabled,
        reset_period=reset_period,
        period=period,
        valid_until_ms=min((change for change in changes if change is not None), default=None),
    )


def _best_of_inactive(candidates: list[_Candidate], now_ms: int) -> _Candidate | None:
    """Return the candidate whose limit and period hold while none counts.

    That is one that may count again, like one that is past due, before one that has ended, and that before one that has
    not started.
    """

    def standing(candidate: _Candidate) -> int:
        if candidate.subscription.started_at_ms > now_ms:
            return 0
        return 1 if has_ended(candidate.subscription, now_ms) else 2

    return max(candidates, key=lambda candidate: (standing(candidate), candidate.rank()), default=None)
