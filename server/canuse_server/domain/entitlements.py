"""What a user may use, worked out of their subscriptions: the highest limit wins."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from canuse_server.domain.grants import GrantBalance, coverage_at
from canuse_server.domain.model import FeatureType, Package, PackageFeature, ResetPeriod, Subscription
from canuse_server.domain.periods import FIXED_LENGTH_MS, Period, period_at
from canuse_server.domain.subscriptions import Packages, counts_at, has_ended, next_change_ms

NOT_STARTED, HAS_ENDED, MAY_COUNT, COUNTS = range(4)
"""How a subscription stands, the higher the more of it holds."""


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


class _Held(NamedTuple):
    """A user's subscriptions to one version of a package: they list the same, so that one of them stands for all."""

    subscription: Subscription
    """The one that goes before the others."""
    entries: tuple[PackageFeature, ...]
    """What they list."""
    grade: int
    """How it stands: NOT_STARTED, HAS_ENDED, MAY_COUNT or COUNTS."""
    changes_ms: int | None
    """When one of them comes to stand otherwise by itself, at the earliest."""


@dataclass(slots=True)
class _Source:
    """Where a feature comes from: the subscription whose limit and period hold, and when that may change."""

    held: _Held
    entry: PackageFeature
    starts_ms: int
    """When the first of the subscriptions that go before the others starts or started."""
    changes_ms: int | None


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
    found = _sources(subscriptions, packages, now_ms)
    granted = [
        feature_id for feature_id, given in grants.items() if not all(grant.has_ended(now_ms) for grant in given)
    ]
    # Many features of a package reset together.
    period = cache(lambda anchor_ms, reset_period: period_at(anchor_ms, reset_period, now_ms))
    return {
        feature_id: _entitlement(
            found.get(feature_id),
            grants.get(feature_id, ()),
            consumable=types[feature_id] != FeatureType.BINARY,
            now_ms=now_ms,
            period_of=period,
        )
        for feature_id in dict.fromkeys((*granted, *found))
    }


def winning_subscription(
    subscriptions: Iterable[Subscription], packages: Packages, feature_id: str, now_ms: int
) -> Subscription | None:
    """Return the subscription whose entry of a feature holds now, or None where none counts."""
    source = _sources(subscriptions, packages, now_ms, feature_id).get(feature_id)
    return source.held.subscription if source is not None and source.held.grade == COUNTS else None


def holding_subscription(
    subscriptions: Iterable[Subscription], packages: Packages, feature_id: str, now_ms: int
) -> Subscription | None:
    """Return the subscription in whose periods a feature is counted, also where none counts; None: there is none."""
    source = _sources(subscriptions, packages, now_ms, feature_id).get(feature_id)
    return None if source is None else source.held.subscription


def without_effect(subscriptions: Iterable[Subscription], packages: Packages, now_ms: int) -> list[Subscription]:
    """Return the subscriptions that have ended and that no entitlement is made from, now or later.

    Where none counts, uses are counted in the periods of the one that ended and gives most: it is needed. One that
    ended before its start may become that one with its start.
    """
    ended = [subscription for subscription in subscriptions if has_ended(subscription, now_ms)]
    most: dict[str, PackageFeature] = {}
    holding: dict[str, str] = {}
    later: set[str] = set()
    # Those that have started, and then the others in the order of their starts.
    for held in sorted(
        _by_version(ended, packages, now_ms), key=lambda held: max(held.subscription.started_at_ms, now_ms)
    ):
        for entry in held.entries:
            known = most.get(entry.feature_id)
            if known is None or _gives(entry) > _gives(known):
                most[entry.feature_id] = entry
                if held.grade == NOT_STARTED:
                    later.add(held.subscription.token)
                else:
                    holding[entry.feature_id] = held.subscription.token
    needed = later.union(holding.values())
    return [subscription for subscription in ended if subscription.token not in needed]


def _sources(
    subscriptions: Iterable[Subscription], packages: Packages, now_ms: int, only: str | None = None
) -> dict[str, _Source]:
    """Return where each feature comes from that subscriptions list, by feature id; `only` one, where it is given."""
    found: dict[str, _Source] = {}
    for held in _by_version(subscriptions, packages, now_ms):
        for entry in held.entries:
            source = found.get(entry.feature_id)
            if source is None:
                if only in (None, entry.feature_id):
                    found[entry.feature_id] = _Source(held, entry, held.subscription.started_at_ms, held.changes_ms)
                continue
            # They come in the order of grades and ages: a later one holds only if it gives more.
            if source.held.grade == held.grade and _gives(entry) > _gives(source.entry):
                source.held, source.entry = held, entry
            if held.changes_ms is not None:
                source.changes_ms = _first(source.changes_ms, held.changes_ms)
    return found


def _gives(entry: PackageFeature) -> tuple[bool, int, bool]:
    """Order what packages give: unlimited, then the higher limit, then overage."""
    return entry.limit is None, entry.limit or 0, entry.overage_enabled


def _by_version(subscriptions: Iterable[Subscription], packages: Packages, now_ms: int) -> list[_Held]:
    """Return subscriptions by the version they are to, first those that go before the others.

    What a package gives in a way that only a newer version of canuse knows stands apart, and does not count.
    """
    versions: dict[tuple[str, int], list[Subscription]] = {}
    for subscription in subscriptions:
        versions.setdefault((subscription.package_id, subscription.package_version), []).append(subscription)
    found = []
    for version, members in versions.items():
        first = max(members, key=lambda member: _precedence(_grade(member, now_ms), member))
        grade = _grade(first, now_ms)
        changes = (next_change_ms(member, now_ms) for member in members)
        changes_ms = min((moment for moment in changes if moment is not None), default=None)
        known, unknown = _by_knowledge(packages[version])
        if known:
            found.append(_Held(first, known, grade, changes_ms))
        if unknown:
            found.append(_Held(first, unknown, min(grade, MAY_COUNT), changes_ms))
    return sorted(found, key=lambda held: _precedence(held.grade, held.subscription), reverse=True)


def _by_knowledge(package: Package) -> tuple[tuple[PackageFeature, ...], tuple[PackageFeature, ...]]:
    """Return what a package lists: what this version of canuse knows how to give, and the rest."""
    if not package.is_known:
        return (), package.features
    unknown = tuple(entry for entry in package.features if entry.known_reset_period is None)
    if not unknown:
        return package.features, ()
    return tuple(entry for entry in package.features if entry.known_reset_period is not None), unknown


def _precedence(grade: int, subscription: Subscription) -> tuple[int, int, str]:
    """Order subscriptions that give the same; the age and the token only make the choice stable."""
    return grade, -subscription.started_at_ms, subscription.token


def _grade(subscription: Subscription, now_ms: int) -> int:
    """Say how a subscription stands: of those of the highest grade the limit and period of one holds.

    One that counts goes before one that may count again, like one that is past due, that before one that has ended, and
    that before one that has not started.
    """
    if counts_at(subscription, now_ms):
        return COUNTS
    if subscription.started_at_ms > now_ms:
        return NOT_STARTED
    return HAS_ENDED if has_ended(subscription, now_ms) else MAY_COUNT


def _entitlement(
    source: _Source | None,
    grants: tuple[GrantBalance, ...],
    *,
    consumable: bool,
    now_ms: int,
    period_of: Callable[[int, ResetPeriod], Period],
) -> Entitlement:
    starts_ms = changes_ms = None
    grade = NOT_STARTED
    if source is not None:
        starts_ms, changes_ms, grade = source.starts_ms, source.changes_ms, source.held.grade
    if source is None or grade == NOT_STARTED:
        # What is used now counts to no period of a subscription that is to start, and grants have nothing to reset.
        start_ms, end_ms = coverage_at(grants, now_ms)
        period = Period(start_ms, _first(end_ms, starts_ms))
        reset_period = ResetPeriod.NEVER
    else:
        reset_period = source.entry.known_reset_period or ResetPeriod.NEVER
        period = period_of(source.held.subscription.started_at_ms, reset_period)
    counts = grade == COUNTS
    granted = not counts and any(grant.is_open(now_ms) for grant in grants)
    if not counts:
        # Here grants decide about access. Else they only add to the budget, which is worked out anew each time.
        changes_ms = _first(changes_ms, coverage_at(grants, now_ms).end_ms)
    if consumable and reset_period not in FIXED_LENGTH_MS:
        changes_ms = _first(changes_ms, period.end_ms)
    return Entitlement(
        consumable=consumable,
        active=counts or granted,
        granted=granted,
        limit=0 if source is None else source.entry.limit,
        overage_enabled=source is not None and not granted and source.entry.overage_enabled,
        reset_period=reset_period,
        period=period,
        valid_until_ms=changes_ms,
    )


def _first(one_ms: int | None, other_ms: int | None) -> int | None:
    if one_ms is None or other_ms is None:
        return other_ms if one_ms is None else one_ms
    return min(one_ms, other_ms)
