"""What a user may use of one feature, and has used: subscriptions, grants, the count, and leases."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from canuse import v1
from canuse.testing.fake.checks import MAX_AMOUNT
from canuse.testing.fake.periods import as_timestamp, in_ms, period_at

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


@dataclass
class Lease:
    """A reserved amount. `period_start` is the period in which it was reserved."""

    id: str
    amount: int
    expires: int
    period_start: int

    def is_open(self, now: int) -> bool:
        """Whether it has not expired."""
        return now < self.expires


class Terms(NamedTuple):
    """What a user may use of a feature at a moment, and in which period it counts. `limit`: the package's."""

    active: bool
    limit: int | None
    overage: bool
    start: int
    end: int | None


@dataclass
class Account:
    """The count of one feature of one user. `update` brings it to a moment; the rest is about that moment."""

    subscriptions: list[Subscribed]
    """All of the user's."""
    feature_id: str
    grants: list[Granted] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    past: list[v1.PastPeriod] = field(default_factory=list)
    terms: Terms | None = None
    used: int = 0
    now: int = 0

    def entries(self) -> list[tuple[Subscribed, v1.PackageFeature]]:
        """Return the entries of packages that give the feature, with their subscriptions."""
        pairs = ((each, entry) for each in self.subscriptions for entry in each.entries)
        return [(each, entry) for each, entry in pairs if entry.feature_id == self.feature_id]

    def update(self, now: int) -> "Account":
        """Bring it to a moment: a period that is over becomes a past one."""
        self.now = now
        before, self.terms = self.terms, self._terms()
        if before is not None and ((before.end is not None and before.end <= now) or self.terms is None):
            self._close(before, now if before.end is None else min(before.end, now))
        return self

    def _terms(self) -> Terms | None:
        active = [pair for pair in self.entries() if pair[0].counts(self.now)]
        source = max(active, key=_rank, default=None) or max(self.entries(), key=self._inactive_rank, default=None)
        granted = any(grant.is_open(self.now) for grant in self.grants)
        if source is None and not granted:
            return None
        if source is None or (source[0].started > self.now and granted):
            return Terms(True, 0, False, min(in_ms(grant.message.effective_at) for grant in self.grants), None)
        subscription, entry = source
        limit = entry.limit if entry.HasField("limit") else None
        if granted and not active:
            limit = 0
        start, end = period_at(subscription.started, entry.reset_period, self.now)
        return Terms(bool(active) or granted, limit, bool(active) and entry.overage_enabled, start, end)

    def _inactive_rank(self, pair: tuple[Subscribed, v1.PackageFeature]) -> tuple[object, ...]:
        subscription = pair[0]
        ended = subscription.status_at(self.now) in ENDED
        return (0 if subscription.started > self.now else 1 if ended else 2, *_rank(pair))

    def _close(self, terms: Terms, end: int) -> None:
        if self.used:
            drawn = self.drawn()
            overage = 0 if terms.limit is None else max(0, self.used - terms.limit - drawn)
            past = v1.PastPeriod(used=self.used, budget=terms.limit, drawn_from_grants=drawn, overage=overage)
            past.period_start.CopyFrom(as_timestamp(terms.start))
            past.period_end.CopyFrom(as_timestamp(end))
            self.past.insert(0, past)
        self.used = 0
        for grant in self.grants:
            grant.drawn = 0

    def drawn(self) -> int:
        """Return the part of the count that came from grants."""
        return sum(grant.drawn for grant in self.grants)

    def reserved(self) -> int:
        """Return the sum of the open leases of this period."""
        start = self.terms.start if self.terms else 0
        return sum(each.amount for each in self.leases if each.is_open(self.now) and each.period_start == start)

    def budget(self) -> int | None:
        """Return the budget of this period: the package's limit, what was drawn, and what the open grants have left."""
        left = [grant.left for grant in self.grants if grant.is_open(self.now)]
        if self.terms is None or self.terms.limit is None or None in left:
            return None
        return min(MAX_AMOUNT, self.terms.limit + self.drawn() + sum(amount for amount in left if amount is not None))

    def consumption(self) -> v1.Consumption | None:
        """Return the counts as the API shows them; None without an entitlement."""
        if self.terms is None:
            return None
        budget, reserved = self.budget(), self.reserved()
        remaining = None if budget is None else max(0, budget - self.used - reserved)
        shown = v1.Consumption(
            used=self.used,
            budget=budget,
            remaining=remaining,
            reserved=reserved,
            overage_enabled=self.terms.overage,
            period_start=as_timestamp(self.terms.start),
        )
        if self.terms.end is not None:
            shown.resets_at.CopyFrom(as_timestamp(self.terms.end))
        return shown

    def reason_for(self, total: int) -> v1.Reason.ValueType:
        """Return the reason for a total compared with the budget; reserved amounts count like uses."""
        budget = self.budget()
        if budget is None:
            return v1.REASON_UNLIMITED
        if total + self.reserved() <= budget:
            return v1.REASON_WITHIN_BUDGET
        return v1.REASON_OVERAGE if self.terms and self.terms.overage else v1.REASON_BUDGET_EXCEEDED

    def set_total(self, total: int) -> int:
        """Set the count, draw from grants or return to them, and return by how much it changed."""
        limit, change = self.terms.limit if self.terms else None, total - self.used
        if limit is not None:
            wanted = max(0, total - limit)
            for grant in self.grants if wanted > self.drawn() else ():
                amount = wanted - self.drawn() if grant.left is None else min(wanted - self.drawn(), grant.left)
                if amount > 0 and grant.is_open(self.now):
                    _draw(grant, amount)
            for grant in reversed(self.grants):
                _draw(grant, -min(grant.drawn, max(0, self.drawn() - wanted)))
        self.used = total
        return change


def _draw(grant: Granted, amount: int) -> None:
    grant.drawn += amount
    if grant.left is not None:
        grant.left -= amount


def _rank(pair: tuple[Subscribed, v1.PackageFeature]) -> tuple[object, ...]:
    """Return the sort key for entries: unlimited, limit, overage, older subscription, id."""
    subscription, entry = pair
    return (
        not entry.HasField("limit"),
        entry.limit,
        entry.overage_enabled,
        -subscription.started,
        subscription.message.id,
    )
