"""What the model says and what a server says, in the same plain words, so that they can be compared.

Times are milliseconds since 1970, amounts are integers. None stands for none: no limit, no end, nothing to count.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

MAX: Final = 2**53 - 1
"""The largest amount."""
DEDUPE_TTL: Final = 86_400_000
"""For how long an event id is remembered at least, and for how long after its expiry a lease can be settled."""


class Refused(Exception):  # noqa: N818 - not a fault: a refusal is an answer that the two have to agree on
    """A call ended with an error of the API, with this reason."""

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


class Entry(NamedTuple):
    """What a package gives of one feature."""

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
"""A step of an explanation: the name of its kind, and its fields in their order."""


class Check(NamedTuple):
    """What `CanUse` answers."""

    access: bool
    reason: int
    counts: Counts | None


class Recorded(NamedTuple):
    """What `CreateUsageEvent` answers. Where the server made the event id, it is the time with an @ before it."""

    recorded: bool
    reason: int
    counts: Counts | None
    applied: int
    event_id: str
    replayed: bool


class Used(NamedTuple):
    """What `UseFeature` and `UseFeatures` answer; `blocking` and several counts are the latter's."""

    access: bool
    reason: int
    blocking: str
    counts: tuple[Counts | None, ...]
    event_id: str
    replayed: bool


class Granted(NamedTuple):
    """What `Reserve` answers. Where nothing was granted there is no lease, and nothing expires."""

    amount: int
    lease: str
    expires: int | None
    reason: int
    counts: Counts | None
    event_id: str
    replayed: bool


class Settled(NamedTuple):
    """What `Settle` answers. Where the server made the event id, it is the time with an @ before it."""

    recorded: bool
    reason: int
    counts: Counts | None
    late: bool
    event_id: str
    replayed: bool


class SubscriptionView(NamedTuple):
    """A subscription as it is shown."""

    id: str
    user_id: str
    package: str
    version: int
    status: int
    started: int
    trial_end: int | None
    cancel_at: int | None


class GrantRequest(NamedTuple):
    """A grant as it is asked for. `effective` None is now."""

    id: str
    feature: str
    amount: int | None
    effective: int | None
    expires: int | None
    priority: int
    note: str


class GrantView(NamedTuple):
    """A grant as it is shown."""

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
    """A package as it is shown."""

    id: str
    type: int
    entries: tuple[Entry, ...]
    status: int
    version: int
    published_version: int


class Migrated(NamedTuple):
    """What a migration came to."""

    users: int
    migrated: int
    shrinking_users: int
    shrinking: tuple[str, ...]


class Entitled(NamedTuple):
    """One entry of `ListEntitlements`."""

    feature: str
    access: bool
    reason: int
    counts: Counts | None
    subscriptions: tuple[str, ...]
    grants: tuple[str, ...]


class Past(NamedTuple):
    """A period that is over."""

    start: int
    end: int
    used: int
    budget: int | None
    drawn: int


class Balance(NamedTuple):
    """A source of a budget, by the id of a subscription or a grant."""

    source: str
    amount: int | None
    left: int | None


class Usage(NamedTuple):
    """What `ShowUsage` answers."""

    current: Counts | None
    past: tuple[Past, ...]
    sources: tuple[Balance, ...]


class Event(NamedTuple):
    """One recorded use."""

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
