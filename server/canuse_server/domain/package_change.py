"""A change of a user's base package: the subscription that it leads to, and those that it replaces."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from canuse_server.domain.model import Subscription, SubscriptionStatus
from canuse_server.domain.subscriptions import Packages, coming_bases, end_ms, period_end_ms


class PackageChange(NamedTuple):
    """What a change of the base package does."""

    subscription: Subscription
    """The subscription to the new package. If it `is_new`, without its token and the version of its package."""
    is_new: bool
    replaced: tuple[Subscription, ...]
    """The subscriptions that it replaces, with their new end, oldest first."""

    @property
    def changes(self) -> bool:
        """Whether anything changes."""
        return self.is_new or bool(self.replaced)


class NoPeriodEndError(Exception):
    """The current subscription has no period that ends."""

    def __init__(self, current: Subscription) -> None:
        super().__init__()
        self.current = current


def change_now(
    subscriptions: Iterable[Subscription], packages: Packages, package_id: str, now_ms: int
) -> PackageChange:
    """Return the change to a package that takes effect now. A trial continues, and a late payment stays late."""
    current, planned = _current_and_planned(subscriptions, packages, now_ms)
    if current is not None and current.package_id == package_id:
        return _keep(current, planned, now_ms)
    new = Subscription("", package_id, 0, SubscriptionStatus.ACTIVE, now_ms)
    if current is None:
        return PackageChange(new, is_new=True, replaced=_ended(planned, now_ms))
    trial_end_ms = current.trial_end_ms if current.status == SubscriptionStatus.TRIALING else None
    new = replace(new, status=current.status, trial_end_ms=trial_end_ms)
    return PackageChange(new, is_new=True, replaced=_ended((current, *planned), now_ms))


def change_at_period_end(
    subscriptions: Iterable[Subscription], packages: Packages, package_id: str, now_ms: int
) -> PackageChange:
    """Return the change to a package that takes effect when the current subscription's period ends.

    Raises:
        NoPeriodEndError: it has no period that ends.
    """
    current, planned = _current_and_planned(subscriptions, packages, now_ms)
    if current is not None and current.package_id == package_id:
        return _keep(current, planned, now_ms)
    starts_at_ms = planned[0].started_at_ms if planned else now_ms
    if current is not None:
        package = packages[current.package_id, current.package_version]
        ends = [end for end in (end_ms(current), period_end_ms(current, package, now_ms)) if end is not None]
        if not ends:
            raise NoPeriodEndError(current)
        starts_at_ms = min(ends)
    same = next((item for item in planned if (item.package_id, item.started_at_ms) == (package_id, starts_at_ms)), None)
    if same is not None:
        others = tuple(item for item in planned if item is not same)
        return PackageChange(same, is_new=False, replaced=_ended(others, now_ms))
    new = Subscription("", package_id, 0, SubscriptionStatus.ACTIVE, starts_at_ms)
    # The end is set on a trial as well: a payment before it must not make the two overlap.
    ending = () if current is None else (replace(current, cancel_at_ms=starts_at_ms),)
    return PackageChange(new, is_new=True, replaced=(*ending, *_ended(planned, now_ms)))


def _current_and_planned(
    subscriptions: Iterable[Subscription], packages: Packages, now_ms: int
) -> tuple[Subscription | None, tuple[Subscription, ...]]:
    """Return the base subscription that has started, and those that start later, the first one first."""
    bases = coming_bases(subscriptions, packages, now_ms)
    started = [item for item in bases if item.started_at_ms <= now_ms]
    return (started[-1] if started else None), tuple(bases[len(started) :])


def _keep(current: Subscription, planned: tuple[Subscription, ...], now_ms: int) -> PackageChange:
    """Return the change that withdraws what is planned after the current subscription."""
    if planned and current.cancel_at_ms == planned[0].started_at_ms:
        current = replace(current, cancel_at_ms=None)
    return PackageChange(current, is_new=False, replaced=_ended(planned, now_ms))


def _ended(subscriptions: Iterable[Subscription], now_ms: int) -> tuple[Subscription, ...]:
    return tuple(replace(item, cancel_at_ms=now_ms) for item in subscriptions)
