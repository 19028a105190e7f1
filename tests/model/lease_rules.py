"""The rules of the state machine that reserve amounts, extend leases and settle them."""

from typing import Any

from hypothesis.stateful import rule

from canuse import v1
from model import strategies
from model.account import Account, Lease
from model.base_machine import BaseMachine
from model.observations import DEDUPE_TTL, MAX
from model.strategies import Amount

Metadata = tuple[tuple[str, str], ...]
MIN_TTL, MAX_TTL = 1000, 7 * 86_400_000
"""The bounds of a lease's lifetime, in milliseconds."""


class LeaseRules(BaseMachine):
    """Rules about leases.

    Which of two equal subscriptions applies depends on their random ids, and so do budgets and ends of periods.
    Therefore no precondition of a rule may depend on these: the same choices would not lead to the same rules again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.repeatable_lease_calls: list[tuple[str, str, str, tuple[Any, ...]]] = []

    @rule(
        who=strategies.users,
        feature=strategies.any_features,
        amount=strategies.any_amounts,
        min_amount=strategies.minimums,
        ttl=strategies.ttls,
        key=strategies.lease_keys,
    )
    def reserve_amount(
        self, who: int, feature: int, amount: Amount, min_amount: str, ttl: int | None, key: int | None
    ) -> None:
        """Reserve an amount."""
        user_id, name = self.user_ids[who], self.features[feature]
        requested = self.amount(user_id, name, amount)
        min_amount_sent = {"one": 1, "all": requested, "less": max(1, requested - 1)}[min_amount]
        event_id = self.event_id(user_id, key)
        arguments = (name, requested, min_amount_sent, self.ttl(user_id, name, ttl), event_id)
        if event_id:
            self.repeatable_lease_calls.append(("reserve", user_id, event_id, arguments))
        self.reserve(user_id, *arguments)

    @rule(
        who=strategies.users,
        feature=strategies.features,
        amount=strategies.reserve_amounts,
        ttl=strategies.ttls,
        number=strategies.numbers,
        again=strategies.very_rarely,
        part=strategies.settled_parts,
        final=strategies.often,
        key=strategies.lease_keys,
        metadata=strategies.metadata,
    )
    def settle(
        self,
        who: int,
        feature: int,
        amount: Amount,
        ttl: int | None,
        number: int,
        again: bool,
        part: tuple[str, int],
        final: bool,
        key: int | None,
        metadata: Metadata,
    ) -> None:
        """Settle a lease or a part of it, sometimes one that is settled or forgotten; without any, reserve one."""
        known = [(person_id, lease.id) for person_id, _, lease in self.settleable()]
        chosen = self.leases if again else known
        if not chosen:
            user_id, name = self.user_ids[who], self.features[feature]
            self.reserve(user_id, name, self.amount(user_id, name, amount), 1, self.ttl(user_id, name, ttl), "")
            return
        user_id, lease_id = chosen[-1 - number % len(chosen)]
        event_id = self.event_id(user_id, key)
        arguments = (lease_id, self.settled_amount(lease_id, part), final, event_id, metadata)
        if event_id:
            self.repeatable_lease_calls.append(("settle", user_id, event_id, arguments))
        self.call_both("settle", *arguments)

    @rule(
        number=strategies.numbers,
        again=strategies.very_rarely,
        amount=strategies.none | strategies.any_amounts | strategies.reserve_amounts,
        ttl=strategies.none | strategies.ttls,
        key=strategies.lease_keys,
    )
    def extend_lease(self, number: int, again: bool, amount: Amount | None, ttl: int | None, key: int | None) -> None:
        """Extend a lease, sometimes one that is settled, expired or forgotten."""
        known = [(user_id, account.feature, lease.id) for user_id, account, lease in self.settleable()]
        settled = [(user_id, self.features[0], lease_id) for user_id, lease_id in self.leases]
        chosen = settled if again else known
        if not chosen:
            return
        user_id, feature, lease_id = chosen[-1 - number % len(chosen)]
        more = None if amount is None else self.amount(user_id, feature, amount)
        lasting = MIN_TTL if more is None and ttl is None else ttl
        event_id = self.event_id(user_id, key)
        arguments = (lease_id, lasting, more, event_id)
        if event_id:
            self.repeatable_lease_calls.append(("extend_lease", user_id, event_id, arguments))
        self.call_both("extend_lease", *arguments)

    @rule(
        who=strategies.users,
        feature=strategies.features,
        amount=strategies.reserve_amounts,
        ttl=strategies.ttls,
        turn=strategies.lease_moments,
        off=strategies.offsets,
        deed=strategies.lease_actions,
        part=strategies.settled_parts,
        new=strategies.booleans,
    )
    def wait_for_a_lease(
        self,
        who: int,
        feature: int,
        amount: Amount,
        ttl: int | None,
        turn: str,
        off: int,
        deed: str,
        part: tuple[str, int],
        new: bool,
    ) -> None:
        """Make a call just before, at or just after a lease expires, its period ends, or it is forgotten."""
        if new or not self.settleable():
            user_id, name = self.user_ids[who], self.features[feature]
            lasting = MAX_TTL if turn == "period" else self.ttl(user_id, name, ttl)
            self.reserve(user_id, name, self.amount(user_id, name, amount), 1, lasting, "")
        leases = self.settleable()
        if not leases:
            return
        user_id, account, lease = leases[-1]
        end = account.terms.end if account.terms else None
        moments = {"expiry": lease.expires, "period": end or lease.expires, "forgotten": lease.expires + DEDUPE_TTL}
        if moments[turn] + off > self.model.now:
            self.set_clock(moments[turn] + off)
        requested = self.amount(user_id, account.feature, amount)
        if deed == "settle":
            self.call_both("settle", lease.id, self.settled_amount(lease.id, part), True, "", ())
        elif deed == "look":
            self.call_both("explain", user_id, account.feature, requested)
        elif deed == "list":
            self.call_both("list_entitlements", user_id)
        elif deed == "use":
            self.call_both("create_usage_event", user_id, account.feature, requested, v1.USAGE_ACTION_ADD, "", ())
        else:
            self.reserve(user_id, account.feature, requested, 1, MIN_TTL, "")
        self.call_both("show_usage", user_id, account.feature)

    @rule(number=strategies.numbers, off=strategies.offsets, more=strategies.small_numbers)
    def reserve_all_over_a_reset(self, number: int, off: int, more: int) -> None:
        """Reserve all that is left, and settle more than that around the end of the period: grants must cover it."""
        accounts = self.limited_and_ending()
        if not accounts:
            return
        user_id, account, end = accounts[number % len(accounts)]
        known = len(self.leases)
        self.reserve(user_id, account.feature, self.amount(user_id, account.feature, Amount("left", 0)), 1, MAX_TTL, "")
        if len(self.leases) > known:
            lease = account.leases[-1]
            self.set_clock(max(self.model.now, end + off))
            self.call_both("settle", lease.id, min(MAX, lease.amount + more), True, "", ())
            self.call_both("show_usage", user_id, account.feature)

    @rule(which=strategies.numbers, other=strategies.sometimes)
    def repeat_lease_call(self, which: int, other: bool) -> None:
        """Repeat a call with an event id that is certainly remembered, with the same content or another."""
        if not self.repeatable_lease_calls:
            return
        name, user_id, event_id, arguments = self.repeatable_lease_calls[-1 - which % len(self.repeatable_lease_calls)]
        remembered = self.model.users[user_id].remembered.get(event_id)
        if remembered is not None and self.model.now - remembered.time > DEDUPE_TTL:
            return
        if name == "reserve":
            *rest, ttl, _ = arguments
            self.reserve(user_id, *rest, ttl - 1 if other and ttl == MAX_TTL else ttl + other, event_id)
        elif name == "extend_lease":
            lease_id, ttl, amount, _ = arguments
            self.call_both("extend_lease", lease_id, ttl, other_amount(amount or 0) if other else amount, event_id)
        else:
            lease_id, used, final, _, metadata = arguments
            self.call_both("settle", lease_id, other_amount(used) if other else used, final, event_id, metadata)

    def ttl(self, user_id: str, feature: str, ttl: int | None) -> int:
        """Return the lifetime of a lease; None stands for the end of the period."""
        if ttl is not None:
            return ttl
        user = self.model.users.get(user_id)
        terms = None if user is None else user.account(feature).terms
        end = None if terms is None else terms.end
        return MAX_TTL if end is None else min(MAX_TTL, max(MIN_TTL, end - self.model.now))

    def settled_amount(self, lease_id: str, part: tuple[str, int]) -> int:
        """Return an amount relative to what was granted."""
        amounts = [lease.amount for _, _, lease in self.settleable() if lease.id == lease_id]
        bases = {"none": 0, "all": amounts[0] if amounts else 0, "most": MAX}
        return min(MAX, max(0, bases[part[0]] + part[1]))

    def limited_and_ending(self) -> list[tuple[str, Account, int]]:
        """Return accounts with a limit whose period may end before a lease; those with open grants, if any."""
        now = self.model.now
        found = [
            (user.id, account, account.terms.end)
            for user in self.model.users.values()
            for account in user.accounts.values()
            if account.terms is not None and account.terms.limit is not None and account.terms.end is not None
            if account.terms.end <= now + MAX_TTL
        ]
        given = [one for one in found if any(grant.is_open(now) and grant.left for grant in one[1].grants)]
        return given or found

    def settleable(self) -> list[tuple[str, Account, Lease]]:
        """Return the leases that can be settled, with their users and accounts."""
        return [
            (user.id, account, lease)
            for user in self.model.users.values()
            for account in user.accounts.values()
            for lease in account.leases
            if lease.can_be_settled(self.model.now)
        ]


def other_amount(amount: int) -> int:
    """Return another valid amount."""
    return amount - 1 if amount > 1 else amount + 1 or 1
