"""The things canuse knows: features, packages, users, subscriptions.

Enum members have the numbers of their counterparts in `canuse.v1`; a test holds the two together. Times are
milliseconds since 1970 in UTC. Amounts are integers of at most `MAX_AMOUNT`.

A newer canuse may have written what is read here. A field that should hold an enum member then may hold another
number: it is kept as it is and gives no access. `unknown` holds the fields that this version does not know, so that
they are written back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

MAX_AMOUNT = 2**53 - 1
"""The largest amount: the largest integer up to which Lua's numbers are exact."""


class FeatureType(IntEnum):
    """How a feature is used."""

    BINARY = 1
    CONSUMABLE = 2


class OnUnavailable(IntEnum):
    """What a check of a feature answers while the store is unavailable."""

    DENY = 1
    ALLOW = 2
    LAST_KNOWN = 3


class ResetPeriod(IntEnum):
    """When the count of a feature starts again at zero."""

    NEVER = 1
    HOUR = 2
    DAY = 3
    WEEK = 4
    MONTH = 5
    YEAR = 6


class PackageType(IntEnum):
    """What a package is for: a plan of which a user has one at a time, or an addition."""

    BASE = 1
    ADD_ON = 2


class PackageStatus(IntEnum):
    """Where a package is in its life."""

    DRAFT = 1
    PUBLISHED = 2
    ARCHIVED = 3


class SubscriptionStatus(IntEnum):
    """How a subscription stands."""

    ACTIVE = 1
    TRIALING = 2
    CANCELLED = 3
    PAST_DUE = 4
    UNPAID = 5
    INCOMPLETE = 6
    INCOMPLETE_EXPIRED = 7


class Reason(IntEnum):
    """Why access was given (below 10) or refused (from 10 to 19); of the others nobody knows."""

    INCLUDED = 1
    WITHIN_BUDGET = 2
    UNLIMITED = 3
    OVERAGE = 4
    NOT_ENTITLED = 10
    BUDGET_EXCEEDED = 11
    SUBSCRIPTION_INACTIVE = 12
    FEATURE_ARCHIVED = 13
    USER_DISABLED = 14
    STORE_UNAVAILABLE = 20

    @property
    def access(self) -> bool:
        """Whether this is a yes. What STORE_UNAVAILABLE is, the feature says."""
        return self < Reason.NOT_ENTITLED


@dataclass(frozen=True, slots=True)
class Feature:
    """Something a user may use."""

    id: str
    type: FeatureType | int
    created_at_ms: int
    name: str = ""
    unit_label: str = ""
    unit_label_plural: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    archived: bool = False
    on_unavailable: OnUnavailable | int = OnUnavailable.DENY
    unknown: Mapping[str, object] | None = field(default=None, compare=False)

    @property
    def is_known(self) -> bool:
        """Whether this version of canuse knows how the feature is used."""
        return isinstance(self.type, FeatureType)


@dataclass(frozen=True, slots=True)
class PackageFeature:
    """What a package gives of one feature. `limit` None is unlimited."""

    feature_id: str
    limit: int | None = None
    reset_period: ResetPeriod | int = ResetPeriod.NEVER
    overage_enabled: bool = False
    unknown: Mapping[str, object] | None = field(default=None, compare=False)

    @property
    def known_reset_period(self) -> ResetPeriod | None:
        """The reset period, or None where only a newer version of canuse knows it."""
        return self.reset_period if isinstance(self.reset_period, ResetPeriod) else None


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a list of features, with what a subscriber gets of each.

    `published_version` is the one that new subscriptions get, 0 if none was published yet; a draft is the one after it.
    """

    id: str
    created_at_ms: int
    name: str = ""
    type: PackageType | int = PackageType.BASE
    features: tuple[PackageFeature, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    status: PackageStatus | int = PackageStatus.DRAFT
    version: int = 1
    published_version: int = 0
    unknown: Mapping[str, object] | None = field(default=None, compare=False)

    @property
    def is_known(self) -> bool:
        """Whether this version of canuse knows what the package is for and how it stands."""
        return isinstance(self.type, PackageType) and isinstance(self.status, PackageStatus)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A user on one version of one package. `token` names it among the user's subscriptions."""

    token: str
    package_id: str
    package_version: int
    status: SubscriptionStatus | int
    started_at_ms: int
    trial_end_ms: int | None = None
    cancel_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """A one-off amount of a feature for one user, on top of packages. `amount` None is unlimited.

    Grants are drawn from in the order of priority (the lower first), expiry and id.
    """

    id: str
    feature_id: str
    amount: int | None
    effective_at_ms: int
    created_at_ms: int
    expires_at_ms: int | None = None
    priority: int = 0
    note: str = ""
    revoked_at_ms: int | None = None
    unknown: Mapping[str, object] | None = field(default=None, compare=False)

    @property
    def end_ms(self) -> int | None:
        """When it ends, by its expiry or because it was revoked."""
        return min((end for end in (self.expires_at_ms, self.revoked_at_ms) if end is not None), default=None)

    def order(self) -> tuple[int, float, str]:
        """Where it stands among the grants of its feature."""
        return (self.priority, float("inf") if self.expires_at_ms is None else self.expires_at_ms, self.id)


@dataclass(frozen=True, slots=True)
class Profile:
    """What people want to know about a user; nothing is decided by it."""

    name: str = ""
    email: str = ""
    billing_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, object] | None = field(default=None, compare=False)
