"""What one user has used of one feature."""

from dataclasses import dataclass, field

from canuse import v1
from model.sources import Grant, Subscription, Terms, terms
from model.words import MAX, Counts, Past


@dataclass
class Account:
    """A count, the grants it draws from in their order, the terms that held at the last look, and the past."""

    feature: str
    used: int = 0
    grants: list[Grant] = field(default_factory=list)
    terms: Terms | None = None
    past: list[Past] = field(default_factory=list)

    def look(self, subscriptions: list[Subscription], now: int) -> None:
        """Take note of what has come to hold at this moment. It has to be done at each moment at which that changes."""
        old, new = self.terms, terms(subscriptions, self.grants, self.feature, now)
        if old is not None and old.end is not None and old.end <= now:
            self.put_away(old, old.end)
        elif old is not None and new is None:
            self.put_away(old, now)
        self.terms = new

    def put_away(self, terms: Terms, end: int) -> None:
        """Begin anew at zero. What was drawn from grants stays drawn."""
        if self.used:
            self.past.insert(0, Past(terms.start, end, self.used, terms.limit, self.drawn()))
        self.used = 0
        for grant in self.grants:
            grant.drawn = 0

    def next_date(self, now: int) -> int | None:
        """Return when it has to be looked at next."""
        dates = [date for grant in self.grants for date in grant.dates()]
        if self.used and self.terms:
            dates.append(self.terms.end)
        return min((date for date in dates if date is not None and date > now), default=None)

    def drawn(self) -> int:
        """Return what of the count was drawn from grants."""
        return sum(grant.drawn for grant in self.grants)

    def package_part(self) -> int | None:
        """Return what the package bears of the count: up to its limit, or where it gives nothing, what it bore."""
        assert self.terms is not None
        if not self.terms.granted:
            return self.terms.limit
        borne = max(0, self.used - self.drawn())
        return borne if self.terms.limit is None else min(borne, self.terms.limit)

    def budget(self, now: int) -> int | None:
        """Return what may be used in this period: of the package, of what was drawn, and of what grants still give."""
        part, lefts = self.package_part(), [grant.left for grant in self.grants if grant.is_open(now)]
        if part is None or None in lefts:
            return None
        return min(MAX, part + self.drawn() + sum(left for left in lefts if left is not None))

    def counts(self, now: int) -> Counts | None:
        """Return how the count stands; None where there is no entitlement."""
        if self.terms is None:
            return None
        budget = self.budget(now)
        remaining = None if budget is None else max(0, budget - self.used)
        return Counts(self.used, budget, remaining, self.terms.overage, self.terms.start, self.terms.end)

    def weigh(self, total: int, now: int) -> v1.Reason.ValueType:
        """Say how a total stands to the budget."""
        assert self.terms is not None
        budget = self.budget(now)
        if budget is None:
            return v1.REASON_UNLIMITED
        if total <= budget:
            return v1.REASON_WITHIN_BUDGET
        return v1.REASON_OVERAGE if self.terms.overage else v1.REASON_BUDGET_EXCEEDED

    def change(self, total: int, now: int) -> int:
        """Make this the count, draw from grants or give back to them, and return by how much the count changed."""
        part, change = self.package_part(), total - self.used
        if change > 0 and part is not None:
            self._draw(total - part - self.drawn(), now)
        if change < 0:
            # The last comes back first: what went past all budgets, then what was drawn, then what the package bears.
            beyond = 0 if part is None else max(0, self.used - part - self.drawn())
            self._give_back(-change - beyond)
        self.used = total
        return change

    def _draw(self, need: int, now: int) -> None:
        for grant in self.grants:
            if grant.is_open(now) and need > 0:
                amount = need if grant.left is None else min(need, grant.left)
                need -= amount
                grant.drawn += amount
                if grant.left is not None:
                    grant.left -= amount

    def _give_back(self, amount: int) -> None:
        for grant in reversed(self.grants):
            back = max(0, min(amount, grant.drawn))
            amount -= back
            grant.drawn -= back
            if grant.left is not None:
                grant.left += back
