"""One user: subscriptions, grants, usage, and answers remembered by event id."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from canuse import v1
from model.account import Account
from model.observations import (
    MAX,
    Balance,
    Counts,
    Entitled,
    Event,
    Extended,
    Granted,
    PackageChanged,
    Past,
    Refused,
    Retry,
    Settled,
    Total,
    Usage,
)
from model.retry import Wanted, retry_after
from model.sources import ENDED, Grant, Subscription, best_active, by_start, entries_of


class ChargeResult(NamedTuple):
    """The result of one charge."""

    reason: int
    counts: Counts | None
    applied: int
    recorded: bool


class UseResult(NamedTuple):
    """The result of a call that records. `blocking` is the feature that was refused, or empty."""

    blocking: str
    charge_results: tuple[ChargeResult, ...]
    event_id: str
    retry: Retry


class Remembered(NamedTuple):
    """A call with an event id: its content, its answer, and its time."""

    content: object
    answer: UseResult | Granted | Settled | Extended | PackageChanged
    time: int


@dataclass
class User:
    """A user. `accounts` has an entry for each feature that was subscribed to, granted or asked about."""

    id: str
    created: int
    disabled: bool = False
    subscriptions: list[Subscription] = field(default_factory=list)
    accounts: dict[str, Account] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    remembered: dict[str, Remembered] = field(default_factory=dict)

    def account(self, feature: str) -> Account:
        """Return the account of a feature."""
        return self.accounts.setdefault(feature, Account(feature))

    def grants(self) -> list[Grant]:
        """Return all grants, by id."""
        found = [grant for account in self.accounts.values() for grant in account.grants]
        return sorted(found, key=lambda grant: grant.id)

    def dates(self) -> list[int]:
        """Return every moment at which something changes, and the ends of the open periods."""
        found = [date for subscription in self.subscriptions for date in subscription.dates()]
        found += [date for grant in self.grants() for date in grant.dates()]
        found += [account.terms.end for account in self.accounts.values() if account.terms]
        found += [date for account in self.accounts.values() for lease in account.leases for date in lease.dates()]
        return [date for date in found if date is not None]

    def update(self, now: int) -> None:
        """Update every account to this moment."""
        for subscription in self.subscriptions:
            for entry in subscription.entries:
                self.account(entry.feature)
        for account in self.accounts.values():
            account.update(self.subscriptions, now)

    def pass_time(self, now: int, until: int) -> None:
        """Process every moment of change up to a time."""
        while True:
            dates = [
                date
                for subscription in self.subscriptions
                for date in subscription.dates()
                if date is not None and date > now
            ]
            dates += [date for account in self.accounts.values() if (date := account.next_date(now)) is not None]
            now = min(dates, default=until)
            if now >= until:
                break
            self.update(now)
        self.update(until)

    def refusal(self, account: Account, archived: bool) -> int | None:
        """Return why nothing of a feature may be used, whatever the amount; None if it may."""
        if self.disabled:
            return v1.REASON_USER_DISABLED
        if archived:
            return v1.REASON_FEATURE_ARCHIVED
        if account.terms is None:
            return v1.REASON_NOT_ENTITLED
        return None if account.terms.active else v1.REASON_SUBSCRIPTION_INACTIVE

    def recall(self, event_id: str, content: object) -> Any:
        """Return the answer of an earlier call with this event id; None without one."""
        known = self.remembered.get(event_id) if event_id else None
        if known is None:
            return None
        if known.content != content:
            raise Refused("EVENT_ID_REUSED")
        return known.answer

    def usage(self, feature: str, now: int) -> Usage:
        """Return the answer of `ShowUsage`."""
        account = self.account(feature)
        sources: list[Balance] = []
        pairs = entries_of(self.subscriptions, feature)
        source = best_active(pairs, now)
        if source is not None:
            limit, from_package = source[1].limit, max(0, account.used - account.drawn())
            sources.append(Balance(source[0].id, limit, None if limit is None else max(0, limit - from_package)))
        sources += [
            Balance(grant.id, grant.amount, grant.left if grant.is_open(now) else 0) for grant in account.grants
        ]
        past = tuple(period.view() for period in reversed(account.past.kept(now)) if period.used)
        return Usage(account.counts(now), past, tuple(sources))

    def totals(self, features: list[str], now: int) -> list[Total]:
        """Return what was used of some features in each period."""
        found: list[Total] = []
        for feature in features:
            account = self.account(feature)
            past = [(period.view(), True) for period in account.past.kept(now) if period.used]
            if account.used and account.terms:
                start, end, limit = account.terms.start, account.terms.end, account.terms.limit
                overage = 0 if limit is None else max(0, account.used - limit - account.drawn())
                past.append((Past(start, end, account.used, limit, account.drawn(), overage, summed=False), False))
            past.sort(key=lambda pair: pair[0].start)
            found += [Total(self.id, feature, *period, complete) for period, complete in past]
        return found

    def entitled(self, feature: str, now: int, binary: bool, archived: bool) -> Entitled | None:
        """Return the entry of `ListEntitlements`; None without an entitlement."""
        account = self.account(feature)
        if account.terms is None:
            return None
        reason, counts = self.refusal(account, archived), None
        if binary:
            reason = reason or v1.REASON_INCLUDED
        else:
            reason, counts = reason or account.reason_for(account.used + 1, now), account.counts(now)
            if grants_access(reason) and account.used + account.reserved(now) == MAX:
                reason = v1.REASON_BUDGET_EXCEEDED  # Every unit that can be counted has been used or is set aside.
        ids = tuple(
            subscription.id
            for subscription in sorted(self.subscriptions, key=by_start)
            if subscription.status_at(now) not in ENDED and lists_feature(subscription, feature)
        )
        grant_ids = tuple(grant.id for grant in account.grants)
        retry = None
        if not grants_access(reason):
            retry = retry_after(self, (Wanted(feature, 1, 1, binary, archived),), now)
        return Entitled(feature, grants_access(reason), reason, counts, ids, grant_ids, retry)


def grants_access(reason: int) -> bool:
    """Whether a reason grants access."""
    return reason in (
        v1.REASON_INCLUDED,
        v1.REASON_WITHIN_BUDGET,
        v1.REASON_UNLIMITED,
        v1.REASON_OVERAGE,
    )


def lists_feature(subscription: Subscription, feature: str) -> bool:
    """Whether the package of a subscription lists a feature."""
    return any(entry.feature == feature for entry in subscription.entries)
