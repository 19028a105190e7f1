"""Entitlements, computed from the subscriptions and grants of a user: the highest limit wins."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from canuse_server.domain.grants import GrantBalance, coverage_at
from canuse_server.domain.model import FeatureType, Package, PackageFeature, ResetPeriod, Subscription
from canuse_server.domain.periods import FIXED_LENGTH_MS, Period, period_at
from canuse_server.domain.subscriptions import Packages, counts_at, has_ended, next_change_ms

NOT_STARTED, HAS_ENDED, MAY_COUNT, COUNTS = range(4)
"""Grades of a subscription. The entitlement of a feature comes from a subscription of the highest grade."""


# Not frozen: every check makes one, and a frozen one takes four times as long to make.
@dataclass(slots=True)
class Entitlement:
    """The access of a user to one feature, valid until `valid_until_ms` (None: until it is replaced).

    `period` is the period in which the entitlement was computed. Periods of a fixed length roll from it by arithmetic;
    the end of a calendar period also ends the validity. `limit` None is unlimited. `granted`: only grants give access;
    the limit then is that of a package without access, and bounds the part of the count that the package covered.
    `predictable`: the entitlement and its grants tell what applies at `valid_until_ms`, see `retry_at_ms`.
    """

    consumable: bool
    active: bool
    limit: int | None
    overage_enabled: bool
    reset_period: ResetPeriod
    period: Period
    valid_until_ms: int | None
    granted: bool = False
    predictable: bool = False

    def period_at(self, now_ms: int) -> Period:
        """Return the period that contains a moment of the validity."""
        start_ms, end_ms = self.period
        if end_ms is None or now_ms < end_ms or self.reset_period not in FIXED_LENGTH_MS:
            return self.period
        return period_at(start_ms, self.reset_period, now_ms)

    def past_period(self, start_ms: int) -> Period:
        """Return the past period that started at a moment, which can be before the entitlement was computed."""
        length_ms = FIXED_LENGTH_MS.get(self.reset_period)
        return Period(start_ms, self.period.start_ms if length_ms is None else start_ms + length_ms)


class _VersionGroup(NamedTuple):
    """The subscriptions of a user to one version of a package: they list the same features, so one represents all."""

    subscription: Subscription
    """The one with the highest precedence."""
    entries: tuple[PackageFeature, ...]
    """The features that they list."""
    grade: int
    """NOT_STARTED, HAS_ENDED, MAY_COUNT or COUNTS."""
    changes_ms: int | None
    """The earliest moment at which a date changes the grade of one of them."""
    known: bool
    """Whether this version of canuse knows the package and the reset periods of these entries."""


@dataclass(slots=True)
class _Source:
    """The source of a feature: the subscription whose limit and period apply, and when that can change."""

    group: _VersionGroup
    entry: PackageFeature
    starts_ms: int
    """The start of the subscription with the highest precedence that lists the feature."""
    changes_ms: int | None


Grants = Mapping[str, tuple[GrantBalance, ...]]
"""The grants of a user by feature id, in the order in which they are drawn from."""


def resolve(
    subscriptions: Iterable[Subscription],
    packages: Packages,
    types: Mapping[str, FeatureType | int],
    grants: Grants,
    now_ms: int,
) -> dict[str, Entitlement]:
    """Return the entitlements of a user at `now_ms` by feature id.

    A feature that only inactive subscriptions list has an inactive entitlement, so that recorded use has a period to
    count in. The same holds for features of a type, and package entries with a reset period, that only a newer version
    of canuse knows: they are counted, and give no access.
    """
    sources = _sources(subscriptions, packages, now_ms)
    granted = [
        feature_id for feature_id, given in grants.items() if not all(grant.has_ended(now_ms) for grant in given)
    ]
    # Many features of a package share a period.
    period = cache(lambda anchor_ms, reset_period: period_at(anchor_ms, reset_period, now_ms))
    return {
        feature_id: _entitlement(
            sources.get(feature_id),
            grants.get(feature_id, ()),
            consumable=types[feature_id] != FeatureType.BINARY,
            now_ms=now_ms,
            period_of=period,
        )
        for feature_id in dict.fromkeys((*granted, *sources))
    }


def winning_subscription(
    subscriptions: Iterable[Subscription], packages: Packages, feature_id: str, now_ms: int
) -> Subscription | None:
    """Return the active subscription whose limit of a feature applies, or None if no active one lists the feature."""
    source = _sources(subscriptions, packages, now_ms, feature_id).get(feature_id)
    return source.group.subscription if source is not None and source.group.grade == COUNTS else None


def holding_subscription(
    subscriptions: Iterable[Subscription], packages: Packages, feature_id: str, now_ms: int
) -> Subscription | None:
    """Return the subscription in whose periods a feature is counted, active or not; None if none lists the feature."""
    source = _sources(subscriptions, packages, now_ms, feature_id).get(feature_id)
    return None if source is None else source.group.subscription


def without_effect(subscriptions: Iterable[Subscription], packages: Packages, now_ms: int) -> list[Subscription]:
    """Return the ended subscriptions that no entitlement depends on, now or later.

    Without an active subscription, use is counted in the periods of the ended one with the highest limit: that one is
    needed. A subscription that ended before its start can become that one at its start.
    """
    ended = [subscription for subscription in subscriptions if has_ended(subscription, now_ms)]
    highest: dict[str, PackageFeature] = {}
    holding: dict[str, str] = {}
    later: set[str] = set()
    # First those that have started, then the others in the order of their starts.
    for group in sorted(
        _group_by_version(ended, packages, now_ms), key=lambda group: max(group.subscription.started_at_ms, now_ms)
    ):
        for entry in group.entries:
            known = highest.get(entry.feature_id)
            if known is None or _limit_rank(entry) > _limit_rank(known):
                highest[entry.feature_id] = entry
                if group.grade == NOT_STARTED:
                    later.add(group.subscription.token)
                else:
                    holding[entry.feature_id] = group.subscription.token
    needed = later.union(holding.values())
    return [subscription for subscription in ended if subscription.token not in needed]


def _sources(
    subscriptions: Iterable[Subscription], packages: Packages, now_ms: int, only: str | None = None
) -> dict[str, _Source]:
    """Return the source of each listed feature by feature id; of the feature `only`, if that is given."""
    sources: dict[str, _Source] = {}
    for group in _group_by_version(subscriptions, packages, now_ms):
        for entry in group.entries:
            source = sources.get(entry.feature_id)
            if source is None:
                if only in (None, entry.feature_id):
                    sources[entry.feature_id] = _Source(
                        group, entry, group.subscription.started_at_ms, group.changes_ms
                    )
                continue
            # They are sorted by precedence: a later one replaces an earlier one only with a higher limit.
            if source.group.grade == group.grade and _limit_rank(entry) > _limit_rank(source.entry):
                source.group, source.entry = group, entry
            if group.changes_ms is not None:
                source.changes_ms = _earliest(source.changes_ms, group.changes_ms)
    return sources


def _limit_rank(entry: PackageFeature) -> tuple[bool, int, bool]:
    """Return the sort key of a package entry: unlimited is highest, then the higher limit, then overage."""
    return entry.limit is None, entry.limit or 0, entry.overage_enabled


def _group_by_version(subscriptions: Iterable[Subscription], packages: Packages, now_ms: int) -> list[_VersionGroup]:
    """Return the subscriptions grouped by package version, in the order of precedence.

    Entries of a package that only a newer version of canuse knows form a group of their own, which gives no access.
    """
    versions: dict[tuple[str, int], list[Subscription]] = {}
    for subscription in subscriptions:
        versions.setdefault((subscription.package_id, subscription.package_version), []).append(subscription)
    groups = []
    for version, members in versions.items():
        first = max(members, key=lambda member: _precedence(_grade(member, now_ms), member))
        grade = _grade(first, now_ms)
        changes = (next_change_ms(member, now_ms) for member in members)
        changes_ms = min((moment for moment in changes if moment is not None), default=None)
        known, unknown = _split_known(packages[version])
        if known:
            groups.append(_VersionGroup(first, known, grade, changes_ms, known=True))
        if unknown:
            groups.append(_VersionGroup(first, unknown, min(grade, MAY_COUNT), changes_ms, known=False))
    return sorted(groups, key=lambda group: _precedence(group.grade, group.subscription), reverse=True)


def _split_known(package: Package) -> tuple[tuple[PackageFeature, ...], tuple[PackageFeature, ...]]:
    """Return the entries of a package: those that this version of canuse knows, and the others."""
    if not package.is_known:
        return (), package.features
    unknown = tuple(entry for entry in package.features if entry.known_reset_period is None)
    if not unknown:
        return package.features, ()
    return tuple(entry for entry in package.features if entry.known_reset_period is not None), unknown


def _precedence(grade: int, subscription: Subscription) -> tuple[int, int, str]:
    """Return the sort key of a subscription: its grade; start and token make the order stable."""
    return grade, -subscription.started_at_ms, subscription.token


def _grade(subscription: Subscription, now_ms: int) -> int:
    """Return the grade of a subscription; one of the highest grade determines limit and period.

    The order is: active, may become active again (such as past due), ended, not started.
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
        starts_ms, changes_ms, grade = source.starts_ms, source.changes_ms, source.group.grade
    if source is None or grade == NOT_STARTED:
        # A subscription that has not started has no current period, and grants do not reset.
        start_ms, end_ms = coverage_at(grants, now_ms)
        period = Period(start_ms, _earliest(end_ms, starts_ms))
        reset_period = ResetPeriod.NEVER
    else:
        reset_period = source.entry.known_reset_period or ResetPeriod.NEVER
        period = period_of(source.group.subscription.started_at_ms, reset_period)
    counts = grade == COUNTS
    granted = not counts and any(grant.is_open(now_ms) for grant in grants)
    valid_until_ms = changes_ms
    if not counts:
        # Grants determine access here. Otherwise they only add to the budget, which each decision computes.
        valid_until_ms = _earliest(valid_until_ms, coverage_at(grants, now_ms).end_ms)
    if consumable and reset_period not in FIXED_LENGTH_MS:
        valid_until_ms = _earliest(valid_until_ms, period.end_ms)
    predictable = valid_until_ms is not None and (
        changes_ms != valid_until_ms or (source is not None and _starts_as_listed(source, grants, granted=granted))
    )
    return Entitlement(
        consumable=consumable,
        active=counts or granted,
        granted=granted,
        limit=0 if source is None else source.entry.limit,
        overage_enabled=source is not None and not granted and source.entry.overage_enabled,
        reset_period=reset_period,
        period=period,
        valid_until_ms=valid_until_ms,
        predictable=predictable,
    )


def _starts_as_listed(source: _Source, grants: tuple[GrantBalance, ...], *, granted: bool) -> bool:
    """Whether the next date of the subscriptions to a feature is the start of one that gives what `source` lists.

    A grant that starts or ends at the same time would look the same.
    """
    subscription, starts_ms = source.group.subscription, source.starts_ms
    return (
        source.group.grade == NOT_STARTED
        and source.group.known
        and subscription.started_at_ms == source.changes_ms == starts_ms
        and counts_at(subscription, starts_ms)
        and not (granted and source.entry.overage_enabled)
        and not any(starts_ms in (grant.effective_at_ms, grant.end_ms) for grant in grants)
    )


def _earliest(one_ms: int | None, other_ms: int | None) -> int | None:
    if one_ms is None or other_ms is None:
        return other_ms if one_ms is None else one_ms
    return min(one_ms, other_ms)
