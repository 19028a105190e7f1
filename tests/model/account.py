"""Usage of one feature by one user."""

from dataclasses import dataclass, field

from canuse import v1
from model.observations import DEDUPE_TTL, MAX, Counts
from model.past import PastPeriod, PastPeriods
from model.sources import Grant, Subscription, Terms, terms


@dataclass
class Lease:
    """A reserved amount. `period` is the number of the period in which it was reserved."""

    id: str
    amount: int
    expires: int
    period: int
    settled: bool = False

    def is_open(self, now: int) -> bool:
        """Whether it is neither settled nor expired."""
        return not self.settled and now < self.expires

    def can_be_settled(self, now: int) -> bool:
        """Whether it is not settled and still remembered."""
        return not self.settled and now < self.expires + DEDUPE_TTL

    def dates(self) -> list[int]:
        """Return when it expires and when it is forgotten; nothing once it is settled."""
        return [] if self.settled else [self.expires, self.expires + DEDUPE_TTL]


@dataclass
class Account:
    """The count of a feature, its grants in drawing order, the current terms, the leases, and the past periods.

    `period` is the number of the current period, counted from 0.
    """

    feature: str
    used: int = 0
    grants: list[Grant] = field(default_factory=list)
    terms: Terms | None = None
    leases: list[Lease] = field(default_factory=list)
    period: int = 0
    past: PastPeriods = field(default_factory=PastPeriods)

    def update(self, subscriptions: list[Subscription], now: int) -> None:
        """Apply the terms that hold now. Must be called at every moment at which the terms change."""
        old, new = self.terms, terms(subscriptions, self.grants, self.feature, now)
        if old is not None and old.end is not None and old.end <= now:
            self.close_period(old, old.end)
        elif old is not None and new is None:
            self.close_period(old, now)
        self.terms = new

    def close_period(self, terms: Terms, end: int) -> None:
        """Store the current period as a past one and start again at zero. What was drawn from grants stays drawn."""
        if self.has_activity():
            self.past.add(self.period, terms.start, end, self.used, terms.limit, self.drawn())
        self.period += 1
        self.used = 0
        for grant in self.grants:
            grant.drawn = 0

    def next_date(self, now: int) -> int | None:
        """Return the next moment at which the account must be updated."""
        dates = [date for grant in self.grants for date in grant.dates()]
        if self.has_activity() and self.terms:
            dates.append(self.terms.end)
        return min((date for date in dates if date is not None and date > now), default=None)

    def has_activity(self) -> bool:
        """Whether there was a use or a lease in this period, so that it is kept as a past period."""
        return self.used > 0 or any(lease.period == self.period for lease in self.leases)

    def reserved(self, now: int) -> int:
        """Return the sum of the open leases of this period."""
        return sum(lease.amount for lease in self.leases if lease.period == self.period and lease.is_open(now))

    def drawn(self) -> int:
        """Return the part of the count that was drawn from grants."""
        return sum(grant.drawn for grant in self.grants)

    def package_share(self) -> int | None:
        """Return the part of the count that the package covers, up to its limit.

        Without access to the package that is what it covered before.
        """
        assert self.terms is not None
        if not self.terms.granted:
            return self.terms.limit
        from_package = max(0, self.used - self.drawn())
        return from_package if self.terms.limit is None else min(from_package, self.terms.limit)

    def budget(self, now: int) -> int | None:
        """Return the budget of this period: the package's share, what was drawn, and what the open grants have left."""
        share, remaining_amounts = self.package_share(), [grant.left for grant in self.grants if grant.is_open(now)]
        if share is None or None in remaining_amounts:
            return None
        return min(MAX, share + self.drawn() + sum(left for left in remaining_amounts if left is not None))

    def counts(self, now: int) -> Counts | None:
        """Return the counts as the API shows them; None without an entitlement."""
        if self.terms is None:
            return None
        budget, reserved = self.budget(now), self.reserved(now)
        remaining = None if budget is None else max(0, budget - self.used - reserved)
        return Counts(self.used, budget, remaining, reserved, self.terms.overage, self.terms.start, self.terms.end)

    def reason_for(self, total: int, now: int) -> v1.Reason.ValueType:
        """Return the reason for a total compared with the budget; reserved amounts weigh like uses."""
        assert self.terms is not None
        budget = self.budget(now)
        if budget is None:
            return v1.REASON_UNLIMITED
        if total + self.reserved(now) <= budget:
            return v1.REASON_WITHIN_BUDGET
        return v1.REASON_OVERAGE if self.terms.overage else v1.REASON_BUDGET_EXCEEDED

    def set_total(self, total: int, now: int) -> int:
        """Set the count, draw from grants or return to them, and return by how much the count changed."""
        share, change = self.package_share(), total - self.used
        if change > 0 and share is not None:
            for grant, amount in self._draw(total - share - self.drawn(), now):
                grant.drawn += amount
        if change < 0:
            # Returned in reverse order: first what exceeded all budgets, then what was drawn, then the package's share.
            excess = 0 if share is None else max(0, self.used - share - self.drawn())
            self._give_back(-change - excess)
        self.used = total
        return change

    def add_to_past(self, past: PastPeriod, more: int, now: int) -> None:
        """Add to the use of a past period.

        What exceeds the package's limit is drawn from the grants that are open now, without adding to what this period
        has drawn.
        """
        if past.budget is not None:
            unused = max(0, past.budget + past.drawn - (past.used - past.overage))
            excess = max(0, more - unused)
            drawn = sum(amount for _, amount in self._draw(excess, now))
            past.drawn += drawn
            past.overage += excess - drawn
        past.used += more

    def _draw(self, need: int, now: int) -> list[tuple[Grant, int]]:
        """Draw from the open grants, in order, as much as they have; return the amount per grant."""
        drawn_amounts = []
        for grant in self.grants:
            if grant.is_open(now) and need > 0:
                amount = need if grant.left is None else min(need, grant.left)
                need -= amount
                drawn_amounts.append((grant, amount))
                if grant.left is not None:
                    grant.left -= amount
        return drawn_amounts

    def _give_back(self, amount: int) -> None:
        for grant in reversed(self.grants):
            returned = max(0, min(amount, grant.drawn))
            amount -= returned
            grant.drawn -= returned
            if grant.left is not None:
                grant.left += returned
