"""A machine that does anything, in any order, to a real server and to the model."""

from hypothesis.stateful import precondition, rule

from canuse import v1
from model import strategies
from model.lease_rules import Holding, another
from model.observations import DEDUPE_TTL, Entry, Refusal, Wanted
from model.strategies import Amount

Metadata = tuple[tuple[str, str], ...]


class Machine(Holding):
    """Uses, checks, retries, leases, changes of all kinds, and time."""

    def later(self, distance: int | None) -> int | None:
        """Return the moment at a distance from now."""
        return None if distance is None else self.model.now + distance

    # Using

    @rule(
        who=strategies.users,
        feature=strategies.features,
        amount=strategies.any_amounts,
        key=strategies.event_numbers,
        metadata=strategies.metadata,
    )
    def record(self, who: int, feature: int, amount: Amount, key: int | None, metadata: Metadata) -> None:
        """Record a use."""
        user, name = self.users[who], self.features[feature]
        delta, event_id = self.amount(user, name, amount), self.event_id(user, key)
        self.record_both("create_usage_event", user, name, delta, v1.USAGE_ACTION_ADD, event_id, metadata)

    @rule(who=strategies.users, feature=strategies.features, amount=strategies.amounts, key=strategies.event_numbers)
    def take_back(self, who: int, feature: int, amount: Amount, key: int | None) -> None:
        """Take a use back, or more than was used."""
        user, name = self.users[who], self.features[feature]
        delta, event_id = -self.amount(user, name, amount), self.event_id(user, key)
        self.record_both("create_usage_event", user, name, delta, v1.USAGE_ACTION_ADD, event_id, ())

    @rule(who=strategies.users, feature=strategies.features, more=strategies.offsets, back=strategies.few)
    def use_up_and_take_back(self, who: int, feature: int, more: int, back: int) -> None:
        """Use all that there is, or nearly or more than that, and take some of it back."""
        user, name = self.users[who], self.features[feature]
        for delta in (self.amount(user, name, Amount("left", more)), -back):
            self.both("create_usage_event", user, name, delta, v1.USAGE_ACTION_ADD, "", ())
        self.both("show_usage", user, name)

    @rule(
        who=strategies.users, feature=strategies.features, amount=strategies.any_amounts, key=strategies.event_numbers
    )
    def set_total(self, who: int, feature: int, amount: Amount, key: int | None) -> None:
        """Set what was used; amounts of 1 stand for 0."""
        user, name = self.users[who], self.features[feature]
        total = self.amount(user, name, amount)
        total = 0 if total == 1 else total
        self.record_both("create_usage_event", user, name, total, v1.USAGE_ACTION_SET, self.event_id(user, key), ())

    @rule(
        who=strategies.users,
        feature=strategies.any_features,
        amount=strategies.any_amounts,
        key=strategies.event_numbers,
        metadata=strategies.metadata,
    )
    def check_then_use(self, who: int, feature: int, amount: Amount, key: int | None, metadata: Metadata) -> None:
        """Ask for an amount, then use it: a check says yes exactly when the use is given."""
        user, name = self.users[who], self.features[feature]
        delta, event_id = self.amount(user, name, amount), self.event_id(user, key)
        checked = self.both("can_use", user, name, delta)
        used = self.record_both("use_feature", user, name, delta, event_id, metadata)
        if name == self.features[strategies.CONSUMABLES] or (not isinstance(used, Refusal) and used.replayed):
            return
        if used != Refusal("EVENT_ID_REUSED"):
            both_refused = isinstance(checked, Refusal) and checked == used
            assert both_refused or (checked.access, checked.reason) == (used.access, used.reason)

    @rule(
        who=strategies.users,
        feature=strategies.features,
        amount=strategies.any_amounts,
        key=strategies.event_numbers,
    )
    def use(self, who: int, feature: int, amount: Amount, key: int | None) -> None:
        """Use without asking."""
        user, name = self.users[who], self.features[feature]
        delta = self.amount(user, name, amount)
        self.record_both("use_feature", user, name, delta, self.event_id(user, key), ())

    @rule(who=strategies.users, charges=strategies.charges, key=strategies.event_numbers, metadata=strategies.metadata)
    def use_several(
        self, who: int, charges: tuple[tuple[int, Amount], ...], key: int | None, metadata: Metadata
    ) -> None:
        """Use several features, all or none; without an event id a no leaves nothing behind."""
        user, event_id = self.users[who], self.event_id(self.users[who], key)
        names = [(self.features[feature], amount) for feature, amount in charges]
        wanted = tuple((name, self.amount(user, name, amount)) for name, amount in names)
        # What has run out is brought up to date by whoever looks first.
        self.both("list_entitlements", user)
        before = self.kept(user)
        answer = self.record_both("use_features", user, wanted, event_id, metadata)
        if not event_id and (isinstance(answer, Refusal) or not answer.access):
            assert self.kept(user) == before

    @rule(uses=strategies.batches)
    def record_many(self, uses: list[tuple[int, int, Amount, int | None]]) -> None:
        """Record many uses in one call."""
        requests = []
        for who, feature, amount, key in uses:
            user, name = self.users[who], self.features[feature]
            event_id = self.event_id(user, key)
            requests.append((user, name, self.amount(user, name, amount), v1.USAGE_ACTION_ADD, event_id, ()))
        self.both("batch_create_usage_events", tuple(requests))

    @rule(uses=strategies.batches)
    def ask_many(self, uses: list[tuple[int, int, Amount, int | None]]) -> None:
        """Ask many checks in one call."""
        asked = [(self.users[who], self.features[feature], amount) for who, feature, amount, _ in uses]
        self.both("batch_can_use", tuple((user, name, self.amount(user, name, amount)) for user, name, amount in asked))

    @precondition(lambda self: self.keyed)
    @rule(which=strategies.numbers, other=strategies.others)
    def again(self, which: int, other: str) -> None:
        """Send one of the last event ids again, if it is remembered for sure: as after a lost answer, or otherwise."""
        name, (user, *rest, event_id, metadata) = self.keyed[-1 - which % len(self.keyed)]
        remembered = self.model.people[user].remembered.get(event_id)
        if remembered is not None and self.model.now - remembered.time > DEDUPE_TTL:
            return
        if other == "metadata":
            metadata = () if metadata else (("by", "x"),)
        elif other == "amount" and name == "use_features":
            ((feature, delta), *charges) = rest[0]
            rest = [((feature, another(delta)), *charges)]
        elif other == "amount":
            rest[1] = another(rest[1])
        self.both(name, user, *rest, event_id, metadata)

    # Having

    @rule(
        who=strategies.users,
        packages=strategies.package_numbers,
        started=strategies.none | strategies.distances,
        trial=strategies.trials,
        status=strategies.some_statuses,
    )
    def have(
        self,
        who: int,
        packages: list[int],
        started: int | None,
        trial: int | None,
        status: v1.SubscriptionStatus.ValueType | None,
    ) -> None:
        """Subscribe."""
        names = [self.packages[number] for number in packages]
        self.subscribe(self.users[who], names, self.later(started), self.later(trial), status)

    def has_subscriptions(self) -> bool:
        """Whether there is any."""
        return any(person.subscriptions for person in self.model.people.values())

    def held(self, number: int) -> str:
        """Return the id of one subscription."""
        ids = [held.id for person in self.model.people.values() for held in person.subscriptions]
        return ids[number % len(ids)]

    @precondition(has_subscriptions)
    @rule(number=strategies.numbers, changes=strategies.changes)
    def change_subscription(self, number: int, changes: dict[str, int | None]) -> None:
        """Give a subscription another status or another end."""
        at = {name: value if name == "status" else self.later(value) for name, value in changes.items()}
        self.both("update_subscription", self.held(number), at)

    @precondition(has_subscriptions)
    @rule(number=strategies.numbers, at_period_end=strategies.chances)
    def cancel(self, number: int, at_period_end: bool) -> None:
        """Cancel a subscription."""
        self.both("cancel_subscription", self.held(number), at_period_end)

    @rule(
        who=strategies.users,
        number=strategies.grant_numbers,
        feature=strategies.any_features,
        amount=strategies.grant_amounts,
        effective=strategies.none | strategies.distances,
        expires=strategies.none | strategies.ahead,
        priority=strategies.priorities,
    )
    def give(
        self,
        who: int,
        number: int | None,
        feature: int,
        amount: int | None,
        effective: int | None,
        expires: int | None,
        priority: int,
    ) -> None:
        """Create a grant, or the same one again, or another one of the same id."""
        start = self.later(effective)
        end = None if expires is None else (self.model.now if start is None else start) + expires
        if number is None:
            number = len(self.model.people[self.users[who]].grants())
        wanted = Wanted(f"g{number}", self.features[feature], amount, start, end, priority, "")
        self.both("create_grant", self.users[who], wanted)

    @precondition(lambda self: any(person.grants() for person in self.model.people.values()))
    @rule(number=strategies.numbers, wrong=strategies.rarely)
    def take_away(self, number: int, wrong: bool) -> None:
        """Revoke a grant; sometimes one that there is not."""
        ids = [(person.id, grant.id) for person in self.model.people.values() for grant in person.grants()]
        user, grant_id = ids[number % len(ids)]
        self.both("revoke_grant", user, f"{grant_id}?" if wrong else grant_id)

    # Packages

    @rule(which=strategies.packages, entries=strategies.entry_lists(), publish=strategies.often)
    def edit(self, which: int, entries: tuple[Entry, ...], publish: bool) -> None:
        """Change a package, which makes its next version, and mostly publish that."""
        package = self.packages[which]
        self.both("update_package", package, self.named(entries))
        if publish:
            self.both("publish_package", package)

    @precondition(lambda self: any(len(package.published) > 1 for package in self.model.packages.values()))
    @rule(which=strategies.packages, old=strategies.versions, new=strategies.versions, dry_run=strategies.sometimes)
    def migrate(self, which: int, old: int, new: int, dry_run: bool) -> None:
        """Move the subscriptions of a package, or see what that would come to."""
        package = self.packages[which]
        self.both("migrate_subscriptions", package, old, new, dry_run)
        self.both("get_package", package, new)

    # The world

    @rule(which=strategies.numbers, off=strategies.offsets)
    def wait_for_a_boundary(self, which: int, off: int) -> None:
        """Let time pass until just before, at or just after a moment at which something changes."""
        dates = sorted(
            {date for person in self.model.people.values() for date in person.dates() if date + off > self.model.now}
        )
        if dates:
            self.move(dates[min(which, len(dates) - 1)] + off)

    @rule(which=strategies.numbers, off=strategies.offsets, amount=strategies.amounts, way=strategies.ways)
    def use_at_the_end_of_a_period(self, which: int, off: int, amount: Amount, way: str) -> None:
        """Use a feature, or ask, just before, at or just after the end of the period in which it was used."""
        periods = self.periods()
        if not periods:
            return
        user, name, end = periods[which % len(periods)]
        if end + off > self.model.now:
            self.move(end + off)
        delta = self.amount(user, name, amount)
        if way == "check":
            self.both("can_use", user, name, delta)
        elif way == "use":
            self.both("use_feature", user, name, delta, "", ())
        else:
            self.both("create_usage_event", user, name, delta, v1.USAGE_ACTION_ADD, "", ())

    def periods(self) -> list[tuple[str, str, int]]:
        """Return the users and features of which something was used in a period that ends, and its end."""
        return [
            (person.id, account.feature, account.terms.end)
            for person in self.model.people.values()
            for account in person.accounts.values()
            if account.used and account.terms is not None and account.terms.end is not None
        ]

    @rule(wait=strategies.waits)
    def wait(self, wait: int) -> None:
        """Let time pass."""
        self.move(self.model.now + wait)

    @rule(who=strategies.users, feature=strategies.any_features, delta=strategies.any_amounts)
    def look(self, who: int, feature: int, delta: Amount) -> None:
        """Look at one feature of a user."""
        user, name = self.users[who], self.features[feature]
        self.both("explain", user, name, self.amount(user, name, delta))
        self.both("show_usage", user, name)

    @rule(who=strategies.users)
    def look_around(self, who: int) -> None:
        """Look at what a user may use."""
        self.both("list_entitlements", self.users[who])

    @rule(
        number=strategies.numbers,
        feature=strategies.none | strategies.features,
        since=strategies.edges,
        until=strategies.edges,
    )
    def look_back(self, number: int, feature: int | None, since: int | None, until: int | None) -> None:
        """Look at the events around one of them."""
        events = [(person.id, event.time) for person in self.model.people.values() for event in person.events]
        if not events:
            return
        user, time = events[-1 - number % len(events)]
        start, end = (None if edge is None else time + edge for edge in (since, until))
        self.both("list_usage_events", user, "" if feature is None else self.features[feature], start, end)

    @rule(really=strategies.rarely, what=strategies.shaken, number=strategies.numbers)
    def shake(self, really: bool, what: str, number: int) -> None:
        """Disable a user or enable them, archive a feature or a package for good, or erase a user and start anew."""
        if not really:
            return
        if what == "feature":
            self.both("archive_feature", self.features[number % len(self.features)])
            type(self).unspoilt = []
        elif what == "package":
            self.both("archive_package", self.packages[number % len(self.packages)])
        elif what == "user":
            user = self.users[number % 2]
            self.both("delete_user", user)
            self.both("create_user", user)
        else:
            self.both("disable_user", self.users[number % 2], what == "disable")
