"""The part of the model that is about leases."""

from canuse import v1
from model.account import Account, Lease
from model.explanation import Explanation
from model.observations import MAX, Event, Extended, Granted, Refused, Settled
from model.retry import Wanted, retry_after
from model.user import Remembered, User, grants_access

Metadata = tuple[tuple[str, str], ...]


class Leases(Explanation):
    """Reserve, ExtendLease and Settle."""

    def __init__(self) -> None:
        super().__init__()
        self.holders: dict[str, str] = {}
        """The users of all leases ever made, by the ids of the leases."""

    def wanted(self, feature: str, amount: int, least: int | None = None) -> Wanted:
        """Return an amount of a feature, as far as it is wanted."""
        known = self.feature(feature)
        return Wanted(feature, amount if least is None else least, amount, known.binary, known.archived)

    def reserve(
        self, user_id: str, feature: str, amount: int, min_amount: int, ttl: int, event_id: str, lease_id: str
    ) -> Granted:
        """Reserve; `lease_id` is the id of a new lease."""
        known = self.consumable(feature)
        user, content = self.user(user_id), ("reserve", feature, amount, min_amount, ttl)
        before: Granted | None = user.recall(event_id, content)
        if before is not None:
            return before._replace(replayed=True)
        account = user.account(feature)
        reason = user.refusal(account, known.archived) or account.reason_for(account.used + amount, self.now)
        counts = account.counts(self.now)
        if reason == v1.REASON_BUDGET_EXCEEDED and counts is not None and (counts.remaining or 0) >= min_amount:
            amount, reason = counts.remaining or 0, v1.REASON_WITHIN_BUDGET
        retry = None
        if not grants_access(reason):
            retry = retry_after(user, (self.wanted(feature, amount, min_amount),), self.now)
            amount = 0
        if account.used + account.reserved(self.now) + amount > MAX:
            raise Refused("TOTAL_OUT_OF_RANGE")
        expires = self.now + ttl if amount else None
        if expires is not None:
            assert not any(lease.id == lease_id for lease in account.leases)
            self.holders[lease_id] = user_id
            account.leases.append(Lease(lease_id, amount, expires, account.period))
        after = account.counts(self.now)
        answer = Granted(
            amount, lease_id if amount else "", expires, reason, after, event_id, replayed=False, retry=retry
        )
        self._remember(user, event_id, content, answer)
        return answer

    def extend_lease(self, lease_id: str, ttl: int | None, amount: int | None, event_id: str) -> Extended:
        """ExtendLease."""
        user, content = self._holder(lease_id), ("extend", lease_id, ttl, amount)
        before: Extended | None = user.recall(event_id, content)
        if before is not None:
            return before._replace(replayed=True)
        account, lease = self._lease(user, lease_id)
        if not lease.is_open(self.now):
            raise Refused("LEASE_NOT_FOUND")
        more = amount or 0
        reason = user.refusal(account, self.feature(account.feature).archived)
        reason = reason or account.reason_for(account.used + more, self.now)
        extended = not more or grants_access(reason)
        if extended and more:
            if lease.period != account.period:
                raise Refused("LEASE_PERIOD_ENDED")
            if account.used + account.reserved(self.now) + more > MAX:
                raise Refused("TOTAL_OUT_OF_RANGE")
        if extended:
            lease.amount += more
            lease.expires = max(lease.expires, self.now + (ttl or 0))
        counts = account.counts(self.now)
        answer = Extended(extended, lease.amount, lease.expires, reason, counts, event_id, replayed=False)
        self._remember(user, event_id, content, answer)
        return answer

    def settle(self, lease_id: str, used: int, final: bool, event_id: str, metadata: Metadata) -> Settled:
        """Settle."""
        user, content = self._holder(lease_id), ("settle", lease_id, used, final, metadata)
        before: Settled | None = user.recall(event_id, content)
        if before is not None:
            return before._replace(replayed=True)
        account, lease = self._lease(user, lease_id)
        if not lease.can_be_settled(self.now):
            raise Refused("LEASE_NOT_FOUND")
        late, is_current = self.now >= lease.expires, lease.period == account.period
        past = account.past.find(lease.period, self.now)
        released = lease.amount if final else min(used, lease.amount)
        others = account.reserved(self.now) - (released if is_current and not late else 0)
        if is_current and account.used + others + used > MAX:
            raise Refused("TOTAL_OUT_OF_RANGE")
        if past and past.used + used > MAX:
            raise Refused("TOTAL_OUT_OF_RANGE")
        lease.settled = final
        lease.amount -= released
        # Of a period too far back neither total nor budget is known.
        total: int = used
        budget: int | None = 0
        if used and is_current:
            account.set_total(account.used + used, self.now)
            total, budget = account.used, account.budget(self.now)
        elif used and past:
            account.add_to_past(past, used, self.now)
            total, budget = past.used, None if past.budget is None else min(MAX, past.budget + past.drawn)
        reason = user.refusal(account, self.feature(account.feature).archived)
        reason = reason or account.reason_for(account.used, self.now)
        if used:
            done = (v1.USAGE_ACTION_ADD, event_id, metadata, reason, total, budget)
            user.events.append(Event(self.now, account.feature, used, used, *done))
        name = event_id or (f"@{self.now}" if used else "")
        answer = Settled(used > 0, reason, account.counts(self.now), late, name, replayed=False)
        self._remember(user, event_id, content, answer)
        return answer

    def _holder(self, lease_id: str) -> User:
        """Return the user for whom a lease was made, who may have been deleted and created again since."""
        user = self.users.get(self.holders.get(lease_id, ""))
        if user is None:
            raise Refused("LEASE_NOT_FOUND")
        return user

    def _lease(self, user: User, lease_id: str) -> tuple[Account, Lease]:
        for account in user.accounts.values():
            for lease in account.leases:
                if lease.id == lease_id:
                    return account, lease
        raise Refused("LEASE_NOT_FOUND")

    def _remember(self, user: User, event_id: str, content: object, answer: Granted | Settled | Extended) -> None:
        if event_id:
            user.remembered[event_id] = Remembered(content, answer, self.now)
