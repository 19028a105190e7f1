"""What a subscription is worth at a moment, and which subscriptions a user may have side by side."""

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
    """Return the moment a subscription ends by itself: its cancellation or the end of its trial. None: it goes on."""
    trial_end_ms = subscription.trial_end_ms if subscription.status == SubscriptionStatus.TRIALING else None
    return min((end for end in (subscription.cancel_at_ms, trial_end_ms) if end is not None), default=None)


def status_at(subscription: Subscription, now_ms: int) -> SubscriptionStatus | int:
    """Return the status as of now: a dated end that has passed shows as CANCELLED, with no job having run.

    A plain number is a status that only a newer version of canuse knows.
    """
    end = end_ms(subscription)
    if end is not None and end <= now_ms and subscription.status not in ENDED:
        return SubscriptionStatus.CANCELLED
    return subscription.status


def has_ended(subscription: Subscription, now_ms: int) -> bool:
    """Whether a subscription has ended: nothing but a new status brings it back."""
    return status_at(subscription, now_ms) in ENDED


def counts_at(subscription: Subscription, now_ms: int) -> bool:
    """Whether a subscription gives access now."""
    return subscription.started_at_ms <= now_ms and status_at(subscription, now_ms) in COUNTING


def next_change_ms(subscription: Subscription, now_ms: int) -> int | None:
    """Return the next moment from which a subscription stands otherwise by itself: it starts, or it ends."""
    end = None if subscription.status in ENDED else end_ms(subscription)
    dates = (subscription.started_at_ms, end)
    return min((moment for moment in dates if moment is not None and moment > now_ms), default=None)


def has_two_bases(subscriptions: Iterable[Subscription], packages: Packages, now_ms: int) -> bool:
    """Whether two base packages overlap from now on. One that ends before the next starts does not overlap it."""
    spans = sorted(
        (subscription.started_at_ms, _or_forever(end_ms(subscription)))
        for subscription in subscriptions
        if packages[subscription.package_id, subscription.package_version].type == PackageType.BASE
        and not has_ended(subscription, now_ms)
    )
    # One that ends before it starts never holds.
    return any(end > start for (_, end), (start, _) in pairwise(span for span in spans if span[0] < span[1]))


def period_end_ms(subscription: Subscription, package: Package, now_ms: int) -> int | None:
    """Return when the subscription's period ends: its trial, or else the longest reset period in its package.

    None: nothing in the package resets.
    """
    if subscription.status == SubscriptionStatus.TRIALING and subscription.trial_end_ms is not None:
        return subscription.trial_end_ms
    known = (entry.known_reset_period for entry in package.features)
    longest = max((period for period in known if period is not None), default=ResetPeriod.NEVER)
    return period_at(subscription.started_at_ms, longest, now_ms).end_ms


def _or_forever(moment_ms: int | None) -> float:
    return float("inf") if moment_ms is None else moment_ms
