"""How a client decides about a feature by itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from canuse._arguments import bad_argument, positive, shown
from canuse.errors import BadArgument

MAX_AMOUNT: Final = 2**53 - 1
MAX_TTL_SECONDS: Final = 7 * 24 * 60 * 60
MIN_REPORT_SECONDS: Final = 0.01
MAX_MARGIN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Lease:
    """How a client decides about a feature by itself, for each user, from units that it reserves ahead.

        client = canuse.Client(leases={"api-calls": canuse.Lease(report_seconds=0.5)})

    Attributes:
        ahead_seconds: For how many seconds of use, at the rate of the last ones, it reserves units.
        max_units: Maximum number of units that it reserves for a user at once.
        max_share: Maximum part of what is left of the user's budget that it reserves, so that others get some, too.
        ttl_seconds: After what time units come back that were reserved by a process that crashed, 2 seconds to 7 days.
            So long at most the client decides while the service does not answer.
        report_seconds: How often what was used is recorded, at least 0.01. After `kill -9` or a power cut, what was
            used since the last report is not recorded.
        idle_seconds: After what time without use it gives the units back.
        max_stale_seconds: How long the last answer of the service about an unlimited or a binary feature is repeated.
        max_users: Maximum number of users for whom it holds units of the feature. The least recently used are given
            back for others.
        settle_on_sigterm: Whether a process that SIGTERM ends records its last uses before. False, for any feature: the
            client does not handle SIGTERM.
    """

    ahead_seconds: float = 2.0
    max_units: int = 1_000_000
    max_share: float = 0.1
    ttl_seconds: float = 30.0
    report_seconds: float = 1.0
    idle_seconds: float = 10.0
    max_stale_seconds: float = 5.0
    max_users: int = 1000
    settle_on_sigterm: bool = True

    def __post_init__(self) -> None:
        """Refuse values that cannot hold; BadArgument names the attribute."""
        for name in ("ahead_seconds", "report_seconds", "idle_seconds", "max_stale_seconds"):
            positive(name, getattr(self, name))
        if not 2 <= positive("ttl_seconds", self.ttl_seconds) <= MAX_TTL_SECONDS:
            raise BadArgument.of("ttl_seconds", f"{shown(self.ttl_seconds)} is not from 2 seconds to 7 days")
        if self.report_seconds < MIN_REPORT_SECONDS:
            raise BadArgument.of("report_seconds", f"{shown(self.report_seconds)} is not at least {MIN_REPORT_SECONDS}")
        if self.report_seconds > self.ttl_seconds / 2:
            accepted = "at most half of ttl_seconds, so that units are reported before they come back"
            raise BadArgument.of("report_seconds", f"{shown(self.report_seconds)} is not {accepted}")
        if positive("max_share", self.max_share) > 1:
            raise BadArgument.of("max_share", f"{shown(self.max_share)} is not above 0 and at most 1")
        _count("max_units", self.max_units)
        _count("max_users", self.max_users)
        on_sigterm: Any = self.settle_on_sigterm
        if not isinstance(on_sigterm, bool):
            raise bad_argument("settle_on_sigterm", on_sigterm, "True or False")

    @property
    def margin_seconds(self) -> float:
        """How long before their expiry units are not used any more: what was used is then still recorded in time."""
        return min(MAX_MARGIN_SECONDS, self.ttl_seconds / 10)


NO_LEASES: Final[Mapping[str, Lease]] = MappingProxyType({})


def check_leases(leases: Any) -> dict[str, Lease]:
    """Return a copy of the setting `leases`; BadArgument unless it has a Lease for each feature."""
    if not isinstance(leases, Mapping):
        raise bad_argument("leases", leases, "a mapping of feature ids to canuse.Lease")
    for feature_id, lease in leases.items():
        if not isinstance(feature_id, str):
            raise bad_argument("leases", feature_id, "a mapping of feature ids to canuse.Lease")
        if not isinstance(lease, Lease):
            raise bad_argument(f"leases[{feature_id!r}]", lease, "a canuse.Lease")
    return dict(leases)


def _count(name: str, value: Any) -> None:
    accepted = "an int from 1 to 2^53 - 1"
    if not isinstance(value, int) or isinstance(value, bool):
        raise bad_argument(name, value, accepted)
    if not 1 <= value <= MAX_AMOUNT:
        raise BadArgument.of(name, f"{shown(value)} is not {accepted}")
