"""The sources of a user's entitlements, subscriptions and grants, and the terms that follow from them at a moment."""

from dataclasses import dataclass
from typing import NamedTuple

from canuse import v1
from model.observations import Entry
from model.periods import period_at

COUNTING = (v1.SUBSCRIPTION_STATUS_ACTIVE, v1.SUBSCRIPTION_STATUS_TRIALING)
ENDED = (v1.SUBSCRIPTION_STATUS_CANCELLED, v1.SUBSCRIPTION_STATUS_INCOMPLETE_EXPIRED)


@dataclass
class Subscription:
    """A subscription to one version of a package, with the entries of that version."""

    id: str
    package: str
    version: int
    base: bool
    entries: tuple[Entry, ...]
    status: int
    started: int
    trial_end: int | None = None
    cancel_at: int | None = None

    def end(self) -> int | None:
        """Return when it ends by itself, None if never."""
        end_times = [self.cancel_at]
        if self.status == v1.SUBSCRIPTION_STATUS_TRIALING:
            end_times.append(self.trial_end)
        return min((end for end in end_times if end is not None), default=None)

    def status_at(self, now: int) -> int:
        """Return its status: CANCELLED once its end has come."""
        end = self.end()
        if self.status not in ENDED and end is not None and end <= now:
            return v1.SUBSCRIPTION_STATUS_CANCELLED
        return self.status

    def counts(self, now: int) -> bool:
        """Whether it gives access."""
        return self.started <= now and self.status_at(now) in COUNTING

    def dates(self) -> list[int | None]:
        """Return the moments at which its status may change."""
        return [self.started, self.trial_end, self.cancel_at]


@dataclass
class Grant:
    """An amount for one user. `left` is what remains of it; `drawn` is what the current count has drawn from it."""

    id: str
    feature: str
    amount: int | None
    effective: int
    expires: int | None
    priority: int
    note: str
    created: int
    left: int | None
    drawn: int = 0
    revoked: int | None = None

    def end(self) -> int | None:
        """Return when it expires or was revoked."""
        return min((end for end in (self.expires, self.revoked) if end is not None), default=None)

    def is_over(self, now: int) -> bool:
        """Whether it has expired or was revoked."""
        end = self.end()
        return end is not None and end <= now

    def is_open(self, now: int) -> bool:
        """Whether it can be drawn from."""
        return self.effective <= now and not self.is_over(now)

    def dates(self) -> list[int | None]:
        """Return when it opens and ends."""
        return [self.effective, self.expires, self.revoked]


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


def terms(subscriptions: list[Subscription], grants: list[Grant], feature: str, now: int) -> Terms | None:
    """Return the terms of a feature, given its grants; None without an entitlement."""
    listed = entries_of(subscriptions, feature)
    granted = best_active(listed, now) is None and any(grant.is_open(now) for grant in grants)
    source = period_source(listed, now)
    if source is None and all(grant.is_over(now) for grant in grants):
        return None
    limit, overage = (0, False) if source is None else (source[1].limit, source[1].overage)
    if source is None or source[0].started > now:
        # What is used before the first subscription starts counts to none of its periods.
        start, end = grant_coverage(grants, now)
        end = min(
            (date for date in (end, *(subscription.started for subscription, _ in listed)) if date is not None),
            default=None,
        )
    else:
        start, end = period_at(source[0].started, source[1].reset, now)
    counts = source is not None and source[0].counts(now)
    return Terms(counts or granted, granted, limit, overage and not granted, start, end)


def by_start(subscription: Subscription) -> tuple[int, str]:
    """Return the sort key for lists of subscriptions: start, then id."""
    return subscription.started, subscription.id


def entries_of(subscriptions: list[Subscription], feature: str) -> list[tuple[Subscription, Entry]]:
    """Return the package entries that list a feature, each with its subscription."""
    return [
        (subscription, entry)
        for subscription in subscriptions
        for entry in subscription.entries
        if entry.feature == feature
    ]


def period_source(pairs: list[tuple[Subscription, Entry]], now: int) -> tuple[Subscription, Entry] | None:
    """Return the subscription in whose periods uses are counted, with its entry."""
    # Without an active one: one that may become active again, then one that has ended, then one that has not begun.
    return best_active(pairs, now) or max(
        pairs, key=lambda pair: (inactive_rank(pair[0], now), rank(pair)), default=None
    )


def best_active(pairs: list[tuple[Subscription, Entry]], now: int) -> tuple[Subscription, Entry] | None:
    """Return the active subscription that gives most, with its entry."""
    return max((pair for pair in pairs if pair[0].counts(now)), key=rank, default=None)


def rank(pair: tuple[Subscription, Entry]) -> tuple[bool, int, bool, int, str]:
    """Return the sort key for entries: unlimited, limit, overage, older subscription, id."""
    subscription, entry = pair
    return entry.limit is None, entry.limit or 0, entry.overage, -subscription.started, subscription.id


def inactive_rank(subscription: Subscription, now: int) -> int:
    """Return the sort key for subscriptions that give no access."""
    if subscription.started > now:
        return 0
    return 1 if subscription.status_at(now) in ENDED else 2


def grant_coverage(grants: list[Grant], now: int) -> tuple[int, int | None]:
    """Return the span around a moment that grants cover without a gap, or else the gap between grants."""
    spans = [(grant.effective, grant.end()) for grant in grants]
    spans = [(start, end) for start, end in spans if end is None or start < end]
    around = [(start, end) for start, end in spans if start <= now and (end is None or now < end)]
    if not around:
        ended = [end for _, end in spans if end is not None and end <= now]
        return max(ended, default=0), min((start for start, _ in spans if start > now), default=None)
    while True:
        since, until = min(start for start, _ in around), latest([end for _, end in around])
        joined = [(start, end) for start, end in spans if not before(until, start) and not before(end, since)]
        if joined == around:
            return since, until
        around = joined


def latest(end_times: list[int | None]) -> int | None:
    """Return the last of some end times; None means never."""
    return None if None in end_times else max(end for end in end_times if end is not None)


def before(end: int | None, start: int) -> bool:
    """Whether there is a gap between an end and a start."""
    return end is not None and end < start
