"""The part of the machine that sets amounts aside, and says later what was used of them."""

from typing import Any

from hypothesis.stateful import rule

from canuse import v1
from model import strategies
from model.account import Account, Lease
from model.base_machine import Ground
from model.observations import DEDUPE_TTL, MAX
from model.strategies import Amount

Metadata = tuple[tuple[str, str], ...]
SHORTEST, LONGEST = 1000, 7 * 86_400_000
"""For how long something can be set aside."""


class Holding(Ground):
    """Leases.

    Which of two equal subscriptions holds is up to their ids, which are random, and with it what is given and when
    periods end. So no precondition of a rule may look at that: the same choices would not lead to the same rules again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str, str, tuple[Any, ...]]] = []

    @rule(
        who=strategies.users,
        feature=strategies.any_features,
        amount=strategies.any_amounts,
        least=strategies.leasts,
        ttl=strategies.ttls,
        key=strategies.lease_keys,
    )
    def set_aside(self, who: int, feature: int, amount: Amount, least: str, ttl: int | None, key: int | None) -> None:
        """Set something aside."""
        user, name = self.users[who], self.features[feature]
        wanted = self.amount(user, name, amount)
        at_least = {"one": 1, "all": wanted, "less": max(1, wanted - 1)}[least]
        event_id = self.event_id(user, key)
        arguments = (name, wanted, at_least, self.ttl(user, name, ttl), event_id)
        if event_id:
            self.asked.append(("reserve", user, event_id, arguments))
        self.reserve(user, *arguments)

    @rule(
        who=strategies.users,
        feature=strategies.features,
        amount=strategies.pledges,
        ttl=strategies.ttls,
        number=strategies.numbers,
        again=strategies.hardly,
        part=strategies.parts,
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
        key: int | None,
        metadata: Metadata,
    ) -> None:
        """Settle a lease, sometimes one that is settled or forgotten; where there is none, take one for later."""
        known = [(person_id, lease.id) for person_id, _, lease in self.turning()]
        chosen = self.leases if again else known
        if not chosen:
            user, name = self.users[who], self.features[feature]
            self.reserve(user, name, self.amount(user, name, amount), 1, self.ttl(user, name, ttl), "")
            return
        user, lease_id = chosen[-1 - number % len(chosen)]
        event_id = self.event_id(user, key)
        arguments = (lease_id, self.part(lease_id, part), event_id, metadata)
        if event_id:
            self.asked.append(("settle", user, event_id, arguments))
        self.both("settle", *arguments)

    @rule(
        who=strategies.users,
        feature=strategies.features,
        amount=strategies.pledges,
        ttl=strategies.ttls,
        turn=strategies.turns,
        off=strategies.offsets,
        deed=strategies.deeds,
        part=strategies.parts,
        new=strategies.chances,
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
        """Do something just before, at or just after a lease expires, its period ends, or it is forgotten."""
        if new or not self.turning():
            user, name = self.users[who], self.features[feature]
            lasting = LONGEST if turn == "period" else self.ttl(user, name, ttl)
            self.reserve(user, name, self.amount(user, name, amount), 1, lasting, "")
        leases = self.turning()
        if not leases:
            return
        user, account, lease = leases[-1]
        end = account.terms.end if account.terms else None
        moments = {"expiry": lease.expires, "period": end or lease.expires, "forgotten": lease.expires + DEDUPE_TTL}
        if moments[turn] + off > self.model.now:
            self.move(moments[turn] + off)
        wanted = self.amount(user, account.feature, amount)
        if deed == "settle":
            self.both("settle", lease.id, self.part(lease.id, part), "", ())
        elif deed == "look":
            self.both("explain", user, account.feature, wanted)
        elif deed == "list":
            self.both("list_entitlements", user)
        elif deed == "use":
            self.both("create_usage_event", user, account.feature, wanted, v1.USAGE_ACTION_ADD, "", ())
        else:
            self.reserve(user, account.feature, wanted, 1, SHORTEST, "")
        self.both("show_usage", user, account.feature)

    @rule(number=strategies.numbers, off=strategies.offsets, more=strategies.few)
    def hold_all_over_a_reset(self, number: int, off: int, more: int) -> None:
        """Set aside all that there is, and use more than that about when the period ends: grants have to give it."""
        accounts = self.ending()
        if not accounts:
            return
        user, account, end = accounts[number % len(accounts)]
        known = len(self.leases)
        self.reserve(user, account.feature, self.amount(user, account.feature, Amount("left", 0)), 1, LONGEST, "")
        if len(self.leases) > known:
            lease = account.leases[-1]
            self.move(max(self.model.now, end + off))
            self.both("settle", lease.id, min(MAX, lease.amount + more), "", ())
            self.both("show_usage", user, account.feature)

    @rule(which=strategies.numbers, other=strategies.sometimes)
    def ask_again_for_a_lease(self, which: int, other: bool) -> None:
        """Send one of the last event ids again, if it is remembered for sure, with the same content or with other."""
        if not self.asked:
            return
        name, user, event_id, arguments = self.asked[-1 - which % len(self.asked)]
        remembered = self.model.people[user].remembered.get(event_id)
        if remembered is not None and self.model.now - remembered.time > DEDUPE_TTL:
            return
        if name == "reserve":
            *rest, ttl, _ = arguments
            self.reserve(user, *rest, ttl - 1 if other and ttl == LONGEST else ttl + other, event_id)
        else:
            lease_id, used, _, metadata = arguments
            self.both("settle", lease_id, another(used) if other else used, event_id, metadata)

    def ttl(self, user: str, feature: str, ttl: int | None) -> int:
        """Return for how long something is to be set aside; None is up to the end of the period."""
        if ttl is not None:
            return ttl
        person = self.model.people.get(user)
        terms = None if person is None else person.account(feature).terms
        end = None if terms is None else terms.end
        return LONGEST if end is None else min(LONGEST, max(SHORTEST, end - self.model.now))

    def part(self, lease_id: str, part: tuple[str, int]) -> int:
        """Return an amount by where it stands to what was granted."""
        amounts = [lease.amount for _, _, lease in self.turning() if lease.id == lease_id]
        bases = {"none": 0, "all": amounts[0] if amounts else 0, "most": MAX}
        return min(MAX, max(0, bases[part[0]] + part[1]))

    def ending(self) -> list[tuple[str, Account, int]]:
        """Return what has a limit in a period that may end before a lease; what grants add to, if there is any."""
        now = self.model.now
        found = [
            (person.id, account, account.terms.end)
            for person in self.model.people.values()
            for account in person.accounts.values()
            if account.terms is not None and account.terms.limit is not None and account.terms.end is not None
            if account.terms.end <= now + LONGEST
        ]
        given = [one for one in found if any(grant.is_open(now) and grant.left for grant in one[1].grants)]
        return given or found

    def turning(self) -> list[tuple[str, Account, Lease]]:
        """Return the leases that can be settled, with their users and accounts."""
        return [
            (person.id, account, lease)
            for person in self.model.people.values()
            for account in person.accounts.values()
            for lease in account.leases
            if lease.can_be_settled(self.model.now)
        ]


def another(amount: int) -> int:
    """Return another amount that is accepted, too."""
    return amount - 1 if amount > 1 else amount + 1 or 1
