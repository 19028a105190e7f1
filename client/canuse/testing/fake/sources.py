"""The sources of a user's entitlements, subscriptions and grants, and the terms that follow from them at a moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from canuse import v1
from canuse.testing.fake.periods import in_ms, period_at

ENDED: Final = (v1.SUBSCRIPTION_STATUS_CANCELLED, v1.SUBSCRIPTION_STATUS_INCOMPLETE_EXPIRED)
_COUNTING: Final = (v1.SUBSCRIPTION_STATUS_ACTIVE, v1.SUBSCRIPTION_STATUS_TRIALING)


@dataclass
class Subscribed:
    """A subscription, with the entries of its version of the package."""

    message: v1.Subscription
    base: bool
    entries: tuple[v1.PackageFeature, ...]

    @property
    def started(self) -> int:
        """When it starts."""
        return in_ms(self.message.started_at)

    def end(self) -> int | None:
        """Return when it ends by itself, None if never."""
        names = ["cancel_at"]
        if self.message.status == v1.SUBSCRIPTION_STATUS_TRIALING:
            names.append("trial_end")
        ends = (in_ms(getattr(self.message, name)) for name in names if self.message.HasField(name))  # type: ignore[arg-type]
        return min(ends, default=None)

    def status_at(self, now: int) -> v1.SubscriptionStatus.ValueType:
        """Return its status: CANCELLED once its end has come."""
        end = self.end()
        if self.message.status not in ENDED and end is not None and end <= now:
            return v1.SUBSCRIPTION_STATUS_CANCELLED
        return self.message.status

    def counts(self, now: int) -> bool:
        """Whether it gives access."""
        return self.started <= now and self.status_at(now) in _COUNTING

    def dates(self) -> list[int]:
        """Return the moments at which its status may change."""
        names = [name for name in ("trial_end", "cancel_at") if self.message.HasField(name)]
        return [self.started, *(in_ms(getattr(self.message, name)) for name in names)]

    def is_to_come(self, now: int) -> bool:
        """Whether it has not ended, and is active at some time."""
        end = self.end()
        return self.status_at(now) not in ENDED and (end is None or self.started < end)

    def view(self, now: int) -> v1.Subscription:
        """Return it as the API shows it."""
        shown = v1.Subscription()
        shown.CopyFrom(self.message)
        shown.status = self.status_at(now)
        return shown


@dataclass
class Granted:
    """A grant. `left` is what remains of it, `drawn` what the current count has drawn from it."""

    message: v1.Grant
    left: int | None
    drawn: int = 0

    def is_open(self, now: int) -> bool:
        """Whether it can be drawn from."""
        ends = [
            in_ms(getattr(self.message, name)) for name in ("expires_at", "revoked_at") if self.message.HasField(name)
        ]
        return in_ms(self.message.effective_at) <= now and all(now < end for end in ends)

    def order(self) -> tuple[int, bool, int, str]:
        """Return the sort key for drawing: priority, then expiry, then id."""
        expires = self.message.HasField("expires_at")
        return self.message.priority, not expires, in_ms(self.message.expires_at), self.message.id

    def end(self) -> int | None:
        """Return when it expires or was revoked."""
        names = [name for name in ("expires_at", "revoked_at") if self.message.HasField(name)]
        return min((in_ms(getattr(self.message, name)) for name in names), default=None)

    def is_over(self, now: int) -> bool:
        """Whether it has expired or was revoked."""
        end = self.end()
        return end is not None and end <= now

    def span(self) -> tuple[int, int | None]:
        """Return when it opens and ends."""
        return in_ms(self.message.effective_at), self.end()


class Terms(NamedTuple):
    """What a user may use of a feature at a moment, and in which period it counts.

    `granted`: only grants give access; the limit is then that of a package which gives no access now.
    """

    active: bool
    granted: bool
    limit: int | None
    overage: bool
    start: int
    end: int | None


Entries = Sequence[tuple[Subscribed, v1.PackageFeature]]


def terms(entries: Entries, grants: Sequence[Granted], now: int) -> Terms | None:
    """Return the terms of a feature, given the entries of packages that list it, and its grants."""
    active = max((pair for pair in entries if pair[0].counts(now)), key=_rank, default=None)
    granted = active is None and any(grant.is_open(now) for grant in grants)
    source = active or max(entries, key=lambda pair: (_inactive_rank(pair[0], now), *_rank(pair)), default=None)
    if source is None and all(grant.is_over(now) for grant in grants):
        return None
    limit: int | None = 0
    overage = False
    if source is not None:
        limit, overage = source[1].limit if source[1].HasField("limit") else None, source[1].overage_enabled
    if source is None or source[0].started > now:
        # What is used before the first subscription starts counts to none of its periods.
        start, end = _coverage(grants, now)
        ends = [end, *(subscription.started for subscription, _ in entries)]
        end = min((date for date in ends if date is not None), default=None)
    else:
        start, end = period_at(source[0].started, source[1].reset_period, now)
    return Terms(active is not None or granted, granted, limit, overage and not granted, start, end)


def best_active(entries: Entries, now: int) -> Subscribed | None:
    """Return the active subscription that gives most."""
    found = max((pair for pair in entries if pair[0].counts(now)), key=_rank, default=None)
    return None if found is None else found[0]


def _rank(pair: tuple[Subscribed, v1.PackageFeature]) -> tuple[bool, int, bool, int, str]:
    """Return the sort key for entries: unlimited, limit, overage, older subscription, id."""
    subscription, entry = pair
    limited = entry.HasField("limit")
    return not limited, entry.limit, entry.overage_enabled, -subscription.started, subscription.message.id


def _inactive_rank(subscription: Subscribed, now: int) -> int:
    """Return the sort key for subscriptions that give no access: one that may become active again is first."""
    if subscription.started > now:
        return 0
    return 1 if subscription.status_at(now) in ENDED else 2


def _coverage(grants: Sequence[Granted], now: int) -> tuple[int, int | None]:
    """Return the span around a moment that grants cover without a gap, or else the gap between grants."""
    spans = [(start, end) for start, end in (grant.span() for grant in grants) if end is None or start < end]
    around = [(start, end) for start, end in spans if start <= now and (end is None or now < end)]
    if not around:
        ended = [end for _, end in spans if end is not None and end <= now]
        return max(ended, default=0), min((start for start, _ in spans if start > now), default=None)
    while True:
        since = min(start for start, _ in around)
        until = None if any(end is None for _, end in around) else max(end for _, end in around if end is not None)
        joined = [
            (start, end) for start, end in spans if (until is None or start <= until) and (end is None or end >= since)
        ]
        if joined == around:
            return since, until
        around = joined
