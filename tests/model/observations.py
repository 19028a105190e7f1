"""What the model and the server answer, as plain values that can be compared.

Times are milliseconds since 1970, amounts are integers. None means absent: no limit, no end, nothing to count.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

MAX: Final = 2**53 - 1
"""The largest amount."""
DEDUPE_TTL: Final = 86_400_000
"""How long an event id is remembered at least, and how long after its expiry a lease can be settled."""


class Refused(Exception):  # noqa: N818 - not a fault: a refusal is an answer that the two have to agree on
    """A call failed with an error of the API that has this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Refusal(NamedTuple):
    """A refused call, as a value."""

    reason: str


def outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a call answers, or its refusal."""
    try:
        return call(*arguments)
    except Refused as refused:
        return Refusal(refused.reason)


class IfKnown:
    """A time that a server may leave out unless it `must` know it; None: it never comes."""

    def __init__(self, time: int | None, must: bool = False) -> None:
        self.time = time
        self.must = must

    def __eq__(self, other: object) -> bool:
        """Compare with what a server answers."""
        return other == self.time or (other is None and not self.must)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return the time."""
        return f"IfKnown({self.time}, must={self.must})"


Retry = int | IfKnown | None
"""After what time a no will be a yes: what a server answers, or what the model expects. None of a yes."""


class Entry(NamedTuple):
    """An entry of a package: what it gives of one feature."""

    feature: str
    limit: int | None
    reset: int
    overage: bool


class Counts(NamedTuple):
    """A `Consumption`."""

    used: int
    budget: int | None
    remaining: int | None
    reserved: int
    overage: bool
    start: int
    end: int | None


Step = tuple[object, ...]
"""A step of an explanation: the name of its kind and its fields, in order."""


class Check(NamedTuple):
    """The answer of `CanUse`."""

    access: bool
    reason: int
    counts: Counts | None
    retry: Retry = None


class Recorded(NamedTuple):
    """The answer of `CreateUsageEvent`. An event id made by the server is its time after an @."""

    recorded: bool
    reason: int
    counts: Counts | None
    applied: int
    event_id: str
    replayed: bool


class Used(NamedTuple):
    """The answer of `UseFeature` and `UseFeatures`; only the latter has `blocking` and several counts."""

    access: bool
    reason: int
    blocking: str
    counts: tuple[Counts | None, ...]
    event_id: str
    replayed: bool
    retry: Retry = None


class Granted(NamedTuple):
    """The answer of `Reserve`. Where nothing was granted there is no lease and no expiry."""

    amount: int
    lease: str
    expires: int | None
    reason: int
    counts: Counts | None
    event_id: str
    replayed: bool
    retry: Retry = None


class Settled(NamedTuple):
    """The answer of `Settle`. An event id made by the server is its time after an @."""

    recorded: bool
    reason: int
    counts: Counts | None
    late: bool
    event_id: str
    replayed: bool


class Extended(NamedTuple):
    """The answer of `ExtendLease`. `amount` is what the lease holds."""

    extended: bool
    amount: int
    expires: int
    reason: int
    counts: Counts | None
    event_id: str
    replayed: bool


class SubscriptionView(NamedTuple):
    """A subscription as the API shows it."""

    id: str
    user_id: str
    package: str
    version: int
    status: int
    started: int
    trial_end: int | None
    cancel_at: int | None


class Ensured(NamedTuple):
    """The answer of `EnsureUser`."""

    created: bool
    updated: bool
    subscribed: bool
    disabled: bool
    subscription: SubscriptionView | None


class PackageChanged(NamedTuple):
    """The answer of `ChangePackage`."""

    subscription: SubscriptionView
    replaced: tuple[SubscriptionView, ...]
    changed: bool
    event_id: str
    replayed: bool


class GrantRequest(NamedTuple):
    """A request to create a grant. `effective` None means now."""

    id: str
    feature: str
    amount: int | None
    effective: int | None
    expires: int | None
    priority: int
    note: str


class GrantView(NamedTuple):
    """A grant as the API shows it."""

    id: str
    user_id: str
    feature: str
    amount: int | None
    effective: int
    expires: int | None
    priority: int
    note: str
    revoked: int | None
    created: int


class PackageView(NamedTuple):
    """A package as the API shows it."""

    id: str
    type: int
    entries: tuple[Entry, ...]
    status: int
    version: int
    published_version: int


class Migrated(NamedTuple):
    """The totals of a migration."""

    users: int
    migrated: int
    shrinking_users: int
    shrinking: tuple[str, ...]


class Applied(NamedTuple):
    """The changes of a document: ids with the kind and the version; in a dry run, who would lose access."""

    changes: tuple[tuple[str, int, int], ...]
    users: int
    losses: tuple[tuple[str, str, int], ...]


class Entitled(NamedTuple):
    """One entry of `ListEntitlements`."""

    feature: str
    access: bool
    reason: int
    counts: Counts | None
    subscriptions: tuple[str, ...]
    grants: tuple[str, ...]
    retry: Retry = None
    packages: tuple[str, ...] = ()


class Past(NamedTuple):
    """A past period, or the sum of some; the end of a current one can be absent."""

    start: int
    end: int | None
    used: int
    budget: int | None
    drawn: int
    overage: int
    summed: bool


class Total(NamedTuple):
    """An item of `ListUsageTotals`."""

    user: str
    feature: str
    start: int
    end: int | None
    used: int
    budget: int | None
    drawn: int
    overage: int
    summed: bool
    complete: bool


class Balance(NamedTuple):
    """A source of a budget, by the id of a subscription or a grant."""

    source: str
    amount: int | None
    left: int | None


class Usage(NamedTuple):
    """The answer of `ShowUsage`."""

    current: Counts | None
    past: tuple[Past, ...]
    sources: tuple[Balance, ...]


class Event(NamedTuple):
    """A usage event."""

    time: int
    feature: str
    delta: int
    applied: int
    action: int
    event_id: str
    metadata: tuple[tuple[str, str], ...]
    reason: int
    used: int
    budget: int | None
