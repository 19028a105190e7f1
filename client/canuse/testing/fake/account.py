"""The count of one feature of one user: periods, the drawing from grants, and leases."""

from dataclasses import dataclass, field
from typing import Final

from canuse import v1
from canuse.testing.fake.checks import MAX_AMOUNT
from canuse.testing.fake.periods import as_timestamp, in_ms
from canuse.testing.fake.sources import Granted, Subscribed, Terms, terms

_PAST_KEPT_MS: Final = 62 * 24 * 3_600_000
"""How long a past period is kept after its end, as a server does by default."""


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


@dataclass
class Account:
    """The count of a feature. `update` brings it to a moment; the rest is about that moment.

    `period` is the number of the current period, `past` has those that are over, oldest first.
    """

    feature_id: str
    subscriptions: list[Subscribed] = field(default_factory=list)
    """All of the user's."""
    grants: list[Granted] = field(default_factory=list)
    """In the order of drawing."""
    leases: list[Lease] = field(default_factory=list)
    past: dict[int, v1.PastPeriod] = field(default_factory=dict)
    terms: Terms | None = None
    used: int = 0
    period: int = 0
    now: int = 0

    def entries(self) -> list[tuple[Subscribed, v1.PackageFeature]]:
        """Return the entries of packages that give the feature, with their subscriptions."""
        pairs = ((each, entry) for each in self.subscriptions for entry in each.entries)
        return [(each, entry) for each, entry in pairs if entry.feature_id == self.feature_id]

    def update(self, now: int) -> None:
        """Apply the terms that hold at a moment. Must be called at every moment at which they change."""
        self.now = now
        old, new = self.terms, terms(self.entries(), self.grants, now)
        if old is not None and old.end is not None and old.end <= now:
            self._close(old, old.end)
        elif old is not None and new is None:
            self._close(old, now)
        self.terms = new

    def kept_past(self) -> list[v1.PastPeriod]:
        """Return the past periods in which something was used and that are still kept, oldest first."""
        ends = {number: in_ms(past.period_end) for number, past in self.past.items()}
        return [past for number, past in self.past.items() if past.used and self.now < ends[number] + _PAST_KEPT_MS]

    def next_date(self, now: int) -> int | None:
        """Return the next moment at which the account must be updated."""
        dates = [date for grant in self.grants for date in grant.span()]
        dates.append(self.terms.end if self.terms else None)
        return min((date for date in dates if date is not None and date > now), default=None)

    def _close(self, terms: Terms, end: int) -> None:
        """Store the period as a past one and start again at zero. What was drawn from grants stays drawn."""
        if self.used or any(lease.period == self.period for lease in self.leases):
            drawn = self.drawn()
            overage = 0 if terms.limit is None else max(0, self.used - terms.limit - drawn)
            past = v1.PastPeriod(used=self.used, budget=terms.limit, drawn_from_grants=drawn, overage=overage)
            past.period_start.CopyFrom(as_timestamp(terms.start))
            past.period_end.CopyFrom(as_timestamp(end))
            self.past[self.period] = past
        self.period += 1
        self.used = 0
        for grant in self.grants:
            grant.drawn = 0

    def drawn(self) -> int:
        """Return the part of the count that came from grants."""
        return sum(grant.drawn for grant in self.grants)

    def reserved(self) -> int:
        """Return the sum of the open leases of this period."""
        return sum(each.amount for each in self.leases if each.is_open(self.now) and each.period == self.period)

    def _share(self) -> int | None:
        """Return the part of the budget that the package covers; without access to it, what it covered before."""
        if self.terms is None:
            return 0
        if not self.terms.granted:
            return self.terms.limit
        from_package = max(0, self.used - self.drawn())
        return from_package if self.terms.limit is None else min(from_package, self.terms.limit)

    def budget(self) -> int | None:
        """Return the budget of this period: the package's share, what was drawn, and what the open grants have left."""
        share, left = self._share(), [grant.left for grant in self.grants if grant.is_open(self.now)]
        if share is None or None in left:
            return None
        return min(MAX_AMOUNT, share + self.drawn() + sum(amount for amount in left if amount is not None))

    def consumption(self) -> v1.Consumption | None:
        """Return the counts as the API shows them; None without an entitlement."""
        if self.terms is None:
            return None
        budget, reserved = self.budget(), self.reserved()
        shown = v1.Consumption(
            used=self.used,
            budget=budget,
            remaining=None if budget is None else max(0, budget - self.used - reserved),
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
        share, change = self._share(), total - self.used
        if change > 0 and share is not None:
            for grant, amount in self._draw(total - share - self.drawn()):
                grant.drawn += amount
        if change < 0:
            # First what exceeded all budgets is returned, then what was drawn, then the package's share.
            excess = 0 if share is None else max(0, self.used - share - self.drawn())
            self._give_back(-change - excess)
        self.used = total
        return change

    def add_to_past(self, past: v1.PastPeriod, more: int) -> None:
        """Add to the use of a past period; what exceeds the package's limit is drawn from the grants that are open."""
        if past.HasField("budget"):
            unused = max(0, past.budget + past.drawn_from_grants - (past.used - past.overage))
            excess = max(0, more - unused)
            drawn = sum(amount for _, amount in self._draw(excess))
            past.drawn_from_grants += drawn
            past.overage += excess - drawn
        past.used += more

    def _draw(self, need: int) -> list[tuple[Granted, int]]:
        """Draw from the open grants, in order, as much as they have; return the amount for each."""
        drawn = []
        for grant in self.grants:
            if grant.is_open(self.now) and need > 0:
                amount = need if grant.left is None else min(need, grant.left)
                need -= amount
                drawn.append((grant, amount))
                if grant.left is not None:
                    grant.left -= amount
        return drawn

    def _give_back(self, amount: int) -> None:
        for grant in reversed(self.grants):
            returned = max(0, min(amount, grant.drawn))
            amount -= returned
            grant.drawn -= returned
            if grant.left is not None:
                grant.left += returned
