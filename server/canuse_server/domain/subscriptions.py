"""The status of a subscription at a moment, and which subscriptions a user can have at the same time."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

from canuse_server.domain.model import Package, PackageType, ResetPeriod, Subscription, SubscriptionStatus
from canuse_server.domain.periods import period_at

Packages = Mapping[tuple[str, int], Package]
"""Published packages by id and version."""

COUNTING: Final = frozenset({SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING})
ENDED: Final = frozenset({SubscriptionStatus.CANCELLED, SubscriptionStatus.INCOMPLETE_EXPIRED})


def end_ms(subscription: Subscription) -> int | None:
    """Return the date at which a subscription ends: its cancellation or the end of its trial; None if it has none."""
    trial_end_ms = subscription.trial_end_ms if subscription.status == SubscriptionStatus.TRIALING else None
    return min((end for end in (subscription.cancel_at_ms, trial_end_ms) if end is not None), default=None)


def status_at(subscription: Subscription, now_ms: int) -> SubscriptionStatus | int:
    """Return the status at `now_ms`: CANCELLED once its end date has passed, whatever is stored.

    A plain number is a status that only a newer version of canuse knows.
    """
    end = end_ms(subscription)
    if end is not None and end <= now_ms and subscription.status not in ENDED:
        return SubscriptionStatus.CANCELLED
    return subscription.status


def has_ended(subscription: Subscription, now_ms: int) -> bool:
    """Whether a subscription has ended; only a new status reactivates it."""
    return status_at(subscription, now_ms) in ENDED


def counts_at(subscription: Subscription, now_ms: int) -> bool:
    """Whether a subscription gives access now."""
    return gives_access(status_at(subscription, now_ms), subscription.started_at_ms, now_ms)


def gives_access(status: int, started_at_ms: int, now_ms: int) -> bool:
    """Whether a subscription gives access now, by its status now."""
    return started_at_ms <= now_ms and status in COUNTING


def next_change_ms(subscription: Subscription, now_ms: int) -> int | None:
    """Return the next date that changes a subscription: its start or its end; None if there is none."""
    end = None if subscription.status in ENDED else end_ms(subscription)
    dates = (subscription.started_at_ms, end)
    return min((moment for moment in dates if moment is not None and moment > now_ms), default=None)


def coming_bases(subscriptions: Iterable[Subscription], packages: Packages, now_ms: int) -> list[Subscription]:
    """Return the subscriptions to base packages that have not ended, the first to start first.

    A subscription that ends before it starts is never active and left out.
    """
    bases = [
        subscription
        for subscription in subscriptions
        if packages[subscription.package_id, subscription.package_version].type == PackageType.BASE
        and not has_ended(subscription, now_ms)
        and subscription.started_at_ms < _or_infinity(end_ms(subscription))
    ]
    return sorted(bases, key=lambda base: (base.started_at_ms, _or_infinity(end_ms(base)), base.token))


def in_place_of(
    package: Package, subscriptions: Iterable[Subscription], packages: Packages, now_ms: int
) -> Subscription | None:
    """Return what a user has in place of a new subscription to a package; None if nothing.

    It is the base package that applies now, or else starts first, or for an add-on the oldest subscription to it.
    """
    if package.type == PackageType.BASE:
        return next(iter(coming_bases(subscriptions, packages, now_ms)), None)
    same = [item for item in subscriptions if item.package_id == package.id and not has_ended(item, now_ms)]
    return min(same, key=lambda item: (item.started_at_ms, item.token), default=None)


def overlapping_bases(
    subscriptions: Iterable[Subscription], packages: Packages, now_ms: int
) -> tuple[Subscription, Subscription] | None:
    """Return two base packages that overlap from now on, the earlier one first; None if there are none.

    One that ends no later than the next starts does not overlap.
    """
    bases = coming_bases(subscriptions, packages, now_ms)
    return next((pair for pair in pairwise(bases) if _or_infinity(end_ms(pair[0])) > pair[1].started_at_ms), None)


def period_end_ms(subscription: Subscription, package: Package, now_ms: int) -> int | None:
    """Return the end of the subscription's period: of its trial, or else of the longest reset period in its package.

    None if no feature of the package resets.
    """
    if subscription.status == SubscriptionStatus.TRIALING and subscription.trial_end_ms is not None:
        return subscription.trial_end_ms
    known = (entry.known_reset_period for entry in package.features)
    longest = max((period for period in known if period is not None), default=ResetPeriod.NEVER)
    return period_at(subscription.started_at_ms, longest, now_ms).end_ms


def _or_infinity(moment_ms: int | None) -> float:
    return float("inf") if moment_ms is None else moment_ms
