"""The data model: features, packages, subscriptions, grants and profiles.

Enum members have the numbers of their counterparts in `canuse.v1`; a test compares them. Times are
milliseconds since 1970 in UTC. Amounts are integers of at most `MAX_AMOUNT`.

Stored data can come from a newer canuse. A field of an enum can then contain a number that this version does not know:
it is kept and gives no access. `unknown` contains the fields that this version does not know; they are written back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

MAX_AMOUNT = 2**53 - 1
"""The largest amount: up to it, Lua's numbers represent every integer exactly."""


class FeatureType(IntEnum):
    """The kind of a feature: on or off, or counted."""

    BINARY = 1
    CONSUMABLE = 2


class OnUnavailable(IntEnum):
    """The answer to a check while the store is unavailable."""

    DENY = 1
    ALLOW = 2
    LAST_KNOWN = 3


class ResetPeriod(IntEnum):
    """The interval after which the count of a feature restarts at zero."""

    NEVER = 1
    HOUR = 2
    DAY = 3
    WEEK = 4
    MONTH = 5
    YEAR = 6


class PackageType(IntEnum):
    """The kind of a package: a plan, of which a user has one at a time, or an addition to it."""

    BASE = 1
    ADD_ON = 2


class PackageStatus(IntEnum):
    """The state of a package."""

    DRAFT = 1
    PUBLISHED = 2
    ARCHIVED = 3


class SubscriptionStatus(IntEnum):
    """The state of a subscription."""

    ACTIVE = 1
    TRIALING = 2
    CANCELLED = 3
    PAST_DUE = 4
    UNPAID = 5
    INCOMPLETE = 6
    INCOMPLETE_EXPIRED = 7


class Reason(IntEnum):
    """The reason for an answer: access (below 10), no access (10 to 19), or no decision (20 and above)."""

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
        """Whether access is given. For STORE_UNAVAILABLE the feature's `on_unavailable` decides instead."""
        return self < Reason.NOT_ENTITLED


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature that packages and grants give access to."""

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
        """Whether this version of canuse knows the feature's type."""
        return isinstance(self.type, FeatureType)


@dataclass(frozen=True, slots=True)
class PackageFeature:
    """The entry of a feature in a package. `limit` None is unlimited."""

    feature_id: str
    limit: int | None = None
    reset_period: ResetPeriod | int = ResetPeriod.NEVER
    overage_enabled: bool = False
    unknown: Mapping[str, object] | None = field(default=None, compare=False)

    @property
    def known_reset_period(self) -> ResetPeriod | None:
        """The reset period, or None if only a newer version of canuse knows it."""
        return self.reset_period if isinstance(self.reset_period, ResetPeriod) else None


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a package: the features and their limits.

    `published_version` is the version that new subscriptions get, 0 if none is published; a draft has the next number.
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
        """Whether this version of canuse knows the package's type and status."""
        return isinstance(self.type, PackageType) and isinstance(self.status, PackageStatus)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription of a user to one version of a package. `token` identifies it among the user's subscriptions."""

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
        """The earlier of its expiry and its revocation, or None."""
        return min((end for end in (self.expires_at_ms, self.revoked_at_ms) if end is not None), default=None)

    def order(self) -> tuple[int, float, str]:
        """Return its sort key among the grants of its feature."""
        return (self.priority, float("inf") if self.expires_at_ms is None else self.expires_at_ms, self.id)


@dataclass(frozen=True, slots=True)
class Profile:
    """Descriptive data of a user; no decision depends on it."""

    name: str = ""
    email: str = ""
    billing_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, object] | None = field(default=None, compare=False)
