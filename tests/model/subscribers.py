"""The part of the model that is about users, their subscriptions and their grants."""

from dataclasses import replace

from canuse import v1
from model.catalog import Catalog
from model.observations import Refused, SubscriptionView
from model.periods import period_at
from model.sources import ENDED, Subscription
from model.user import Person

TRIALING = v1.SUBSCRIPTION_STATUS_TRIALING


class Customers(Catalog):
    """Users and what they have."""

    now: int
    people: dict[str, Person]

    def person(self, user: str) -> Person:
        """Return a user that there has to be."""
        if user not in self.people:
            raise Refused("USER_NOT_FOUND")
        return self.people[user]

    def create_user(self, user: str) -> None:
        """CreateUser."""
        if user in self.people:
            raise Refused("USER_EXISTS")
        self.people[user] = Person(user, self.now)

    def disable_user(self, user: str, disabled: bool) -> None:
        """UpdateUser, of the field `disabled`."""
        self.person(user).disabled = disabled

    def delete_user(self, user: str) -> None:
        """DeleteUser."""
        self.person(user)
        del self.people[user]

    def subscribe(
        self,
        user: str,
        packages: tuple[str, ...],
        started: int | None,
        trial_end: int | None,
        status: int | None,
        ids: tuple[str, ...],
    ) -> list[SubscriptionView]:
        """Subscribe; `ids` are those that the new subscriptions get."""
        status = status or (v1.SUBSCRIPTION_STATUS_ACTIVE if trial_end is None else TRIALING)
        if status == TRIALING and trial_end is None:
            raise Refused("INVALID_FIELD")
        if trial_end is not None and started is not None and trial_end <= started:
            raise Refused("INVALID_FIELD")
        chosen = [self.to_subscribe(package) for package in packages]
        person, start = self.person(user), self.now if started is None else started
        if trial_end is not None and trial_end <= start:
            raise Refused("INVALID_FIELD")
        made = [
            Subscription(
                id=held_id,
                package=package.id,
                version=package.current(),
                base=package.type == v1.PACKAGE_TYPE_BASE,
                entries=package.published[package.current()],
                status=status,
                started=start,
                trial_end=trial_end,
            )
            for package, held_id in zip(chosen, ids, strict=False)
        ]
        self._keep_to_one_base([*person.subscriptions, *made])
        person.subscriptions += made
        person.look(self.now)
        return [self._show(person, held) for held in made]

    def update_subscription(self, held_id: str, changes: dict[str, int | None]) -> SubscriptionView:
        """UpdateSubscription, of those of the fields `status`, `trial_end` and `cancel_at` that are given."""
        person, old = self._subscription(held_id)
        new = replace(old)
        status, end = changes.get("status"), changes.get("cancel_at")
        has_come = end is not None and end <= self.now
        if old.status_at(self.now) in ENDED and (status in (None, *ENDED) or has_come):
            # It has ended, and dates do not bring it back; nor does a status that is to end at once.
            return self._exchange(person, old, replace(old, status=status if status in ENDED else old.status))
        new.trial_end = changes.get("trial_end", old.trial_end)
        if "cancel_at" in changes:
            new.cancel_at = None if end is None else max(self.now, end)
        if status is not None:
            new.status = status
            gone = new.cancel_at is not None and new.cancel_at <= self.now
            if status in ENDED and not gone:
                new.cancel_at = self.now
            if status not in ENDED and gone and not has_come:
                new.cancel_at = None
        if new.status == TRIALING and new.trial_end is None:
            raise Refused("INVALID_FIELD")
        if new.trial_end is not None and new.trial_end <= new.started:
            raise Refused("INVALID_FIELD")
        return self._exchange(person, old, new)

    def cancel_subscription(self, held_id: str, at_period_end: bool) -> SubscriptionView:
        """CancelSubscription."""
        person, old = self._subscription(held_id)
        if old.status_at(self.now) in ENDED:
            return self._show(person, old)
        end: int | None = self.now
        if at_period_end:
            longest = max((entry.reset for entry in old.entries), default=v1.RESET_PERIOD_NEVER)
            end = period_at(old.started, longest, self.now)[1]
            if old.status == TRIALING:
                end = old.trial_end
            if end is None:
                raise Refused("NO_PERIOD_END")
        if old.cancel_at is not None and end is not None:
            end = min(old.cancel_at, end)
        return self._exchange(person, old, replace(old, cancel_at=end))

    def list_subscriptions(self, user: str) -> list[SubscriptionView]:
        """ListSubscriptions."""
        person = self.person(user)
        listed = sorted(person.subscriptions, key=lambda held: (held.started, held.id))
        return [self._show(person, held) for held in listed]

    def _subscription(self, held_id: str) -> tuple[Person, Subscription]:
        for person in self.people.values():
            for held in person.subscriptions:
                if held.id == held_id:
                    return person, held
        raise Refused("SUBSCRIPTION_NOT_FOUND")

    def _exchange(self, person: Person, old: Subscription, new: Subscription) -> SubscriptionView:
        changed = [new if held is old else held for held in person.subscriptions]
        self._keep_to_one_base(changed)
        person.subscriptions = changed
        person.look(self.now)
        return self._show(person, new)

    def _keep_to_one_base(self, subscriptions: list[Subscription]) -> None:
        """Refuse two base packages at one time, now or later."""
        bases = [held for held in subscriptions if held.base and held.status_at(self.now) not in ENDED]
        for one in bases:
            for other in bases:
                if one is not other and overlap(one, other):
                    raise Refused("SECOND_BASE_PACKAGE")

    def _show(self, person: Person, held: Subscription) -> SubscriptionView:
        return SubscriptionView(
            held.id,
            person.id,
            held.package,
            held.version,
            held.status_at(self.now),
            held.started,
            held.trial_end,
            held.cancel_at,
        )


def overlap(one: Subscription, other: Subscription) -> bool:
    """Whether there is a moment at which both hold."""
    ends = [end for end in (one.end(), other.end()) if end is not None]
    start = max(one.started, other.started)
    return not ends or start < min(ends)
