"""Migration of subscriptions to another version of their package, and whether it reduces access."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import inf
from typing import NamedTuple

from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import Subscription
from canuse_server.domain.subscriptions import has_ended


class Move(NamedTuple):
    """A migration from one version of a package, or from any other if `from_version` is 0, to a published one."""

    package_id: str
    from_version: int
    to_version: int

    def of(self, subscriptions: Iterable[Subscription], now_ms: int) -> tuple[Subscription, ...]:
        """Return the subscriptions that move, with their new version. Ended subscriptions do not move."""
        return tuple(
            replace(subscription, package_version=self.to_version)
            for subscription in subscriptions
            if subscription.package_id == self.package_id
            and subscription.package_version != self.to_version
            and self.from_version in (0, subscription.package_version)
            and not has_ended(subscription, now_ms)
        )


def shrinks(before: Mapping[str, Entitlement], after: Mapping[str, Entitlement]) -> bool:
    """Whether a feature loses access, gets a lower limit, or loses overage."""
    return any(True for _ in shrinking_features(before, after))


def shrinking_features(before: Mapping[str, Entitlement], after: Mapping[str, Entitlement]) -> Iterator[str]:
    """Yield the features that lose access, get a lower limit, or lose overage."""
    return (feature_id for feature_id, entitlement in before.items() if _gives_less(after.get(feature_id), entitlement))


def _gives_less(after: Entitlement | None, before: Entitlement) -> bool:
    (limit, overage), (old_limit, old_overage) = _package_access(after), _package_access(before)
    return limit < old_limit or (old_overage and not overage)


def _package_access(entitlement: Entitlement | None) -> tuple[float, bool]:
    """Return the limit that packages give, and whether use beyond it is allowed."""
    if entitlement is None or not entitlement.active:
        return 0, False
    if not entitlement.consumable or (entitlement.limit is None and not entitlement.granted):
        return inf, True
    # If only grants give access, packages give nothing.
    return (0, False) if entitlement.granted else (entitlement.limit or 0, entitlement.overage_enabled)
