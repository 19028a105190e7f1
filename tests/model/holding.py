"""The part of the machine that sets amounts aside, and says later what was used of them."""

from typing import Any

from hypothesis.stateful import precondition, rule

from canuse import v1
from model import choices
from model.account import Account, Lease
from model.choices import Amount
from model.ground import Ground
from model.words import DEDUPE_TTL, MAX

Metadata = tuple[tuple[str, str], ...]
SHORTEST, LONGEST = 1000, 7 * 86_400_000
"""For how long something can be set aside."""


class Holding(Ground):
    """Leases."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str, str, tuple[Any, ...]]] = []

    @rule(
        who=choices.users,
        feature=choices.any_features,
        amount=choices.any_amounts,
        least=choices.leasts,
        ttl=choices.ttls,
        key=choices.event_numbers,
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

    @precondition(lambda self: self.leases)
    @rule(
        number=choices.numbers,
        again=choices.rarely,
        part=choices.parts,
        most=choices.rarely,
        key=choices.event_numbers,
        metadata=choices.metadata,
    )
    def settle(
        self, number: int, again: bool, part: tuple[str, int], most: bool, key: int | None, metadata: Metadata
    ) -> None:
        """Settle a lease, sometimes with the largest amount; sometimes one that has been settled or is forgotten."""
        known = [(user, lease_id) for user, lease_id in self.leases if self.found(user, lease_id) is not None]
        chosen = self.leases if again or not known else known
        user, lease_id = chosen[-1 - number % len(chosen)]
        event_id, used = self.event_id(user, key), MAX if most else self.part(user, lease_id, part)
        arguments = (lease_id, used, event_id, metadata)
        if event_id:
            self.asked.append(("settle", user, event_id, arguments))
        self.both("settle", *arguments)

    @precondition(lambda self: self.turning())
    @rule(
        number=choices.numbers,
        turn=choices.turns,
        off=choices.offsets,
        deed=choices.deeds,
        part=choices.parts,
        amount=choices.amounts,
    )
    def wait_for_a_lease(
        self, number: int, turn: str, off: int, deed: str, part: tuple[str, int], amount: Amount
    ) -> None:
        """Do something just before, at or just after a lease expires, its period ends, or it is forgotten."""
        leases = self.turning()
        user, account, lease = leases[number % len(leases)]
        end = account.terms.end if account.terms else None
        moments = {"expiry": lease.expires, "period": end or lease.expires, "forgotten": lease.expires + DEDUPE_TTL}
        if moments[turn] + off > self.model.now:
            self.move(moments[turn] + off)
        wanted = self.amount(user, account.feature, amount)
        if deed == "settle":
            self.both("settle", lease.id, self.part(user, lease.id, part), "", ())
        elif deed == "look":
            self.both("explain", user, account.feature, wanted)
        elif deed == "list":
            self.both("list_entitlements", user)
        elif deed == "use":
            self.both("create_usage_event", user, account.feature, wanted, v1.USAGE_ACTION_ADD, "", ())
        else:
            self.reserve(user, account.feature, wanted, 1, SHORTEST, "")
        self.both("show_usage", user, account.feature)

    @precondition(lambda self: self.asked)
    @rule(which=choices.numbers, other=choices.sometimes)
    def ask_again_for_a_lease(self, which: int, other: bool) -> None:
        """Send one of the last event ids again, if it is remembered for sure, with the same content or with other."""
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

    def found(self, user: str, lease_id: str) -> Lease | None:
        """Return a lease that can be settled."""
        person = self.model.people.get(user)
        accounts = [] if person is None else person.accounts.values()
        leases = [lease for account in accounts for lease in account.leases if lease.id == lease_id]
        return next((lease for lease in leases if lease.can_be_settled(self.model.now)), None)

    def part(self, user: str, lease_id: str, part: tuple[str, int]) -> int:
        """Return an amount by where it stands to what was granted."""
        lease, (basis, more) = self.found(user, lease_id), part
        granted = lease.amount if lease is not None and basis == "all" else 0
        return min(MAX, max(0, granted + more))

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
