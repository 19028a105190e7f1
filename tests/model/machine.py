"""A state machine that makes calls of all kinds, in any order, to a real server and to the model."""

from hypothesis.stateful import precondition, rule

from canuse import v1
from model import strategies
from model.lease_rules import other_amount
from model.observations import DEDUPE_TTL, Entry, GrantRequest, Refusal
from model.package_rules import PackageRules
from model.strategies import Amount

Metadata = tuple[tuple[str, str], ...]


class Machine(PackageRules):
    """Uses, checks, retries, leases, changes of all kinds, and the passing of time."""

    def at_distance(self, distance: int | None) -> int | None:
        """Return the moment at a distance from now."""
        return None if distance is None else self.model.now + distance

    # Recording and checking

    @rule(
        who=strategies.users,
        feature=strategies.features,
        amount=strategies.any_amounts,
        key=strategies.event_numbers,
        metadata=strategies.metadata,
    )
    def record(self, who: int, feature: int, amount: Amount, key: int | None, metadata: Metadata) -> None:
        """Record a use."""
        user_id, name = self.user_ids[who], self.features[feature]
        delta, event_id = self.amount(user_id, name, amount), self.event_id(user_id, key)
        self.record_both("create_usage_event", user_id, name, delta, v1.USAGE_ACTION_ADD, event_id, metadata)

    @rule(who=strategies.users, feature=strategies.features, amount=strategies.amounts, key=strategies.event_numbers)
    def take_back(self, who: int, feature: int, amount: Amount, key: int | None) -> None:
        """Record a negative use, sometimes of more than was used."""
        user_id, name = self.user_ids[who], self.features[feature]
        delta, event_id = -self.amount(user_id, name, amount), self.event_id(user_id, key)
        self.record_both("create_usage_event", user_id, name, delta, v1.USAGE_ACTION_ADD, event_id, ())

    @rule(who=strategies.users, feature=strategies.features, more=strategies.offsets, back=strategies.small_numbers)
    def use_up_and_take_back(self, who: int, feature: int, more: int, back: int) -> None:
        """Record the remaining budget, or a little less or more, and take some of it back."""
        user_id, name = self.user_ids[who], self.features[feature]
        for delta in (self.amount(user_id, name, Amount("left", more)), -back):
            self.call_both("create_usage_event", user_id, name, delta, v1.USAGE_ACTION_ADD, "", ())
        self.call_both("show_usage", user_id, name)

    @rule(
        who=strategies.users,
        feature=strategies.features,
        amount=strategies.any_amounts,
        key=strategies.event_numbers,
    )
    def set_total(self, who: int, feature: int, amount: Amount, key: int | None) -> None:
        """Set the total; an amount of 1 stands for 0."""
        user_id, name = self.user_ids[who], self.features[feature]
        total = self.amount(user_id, name, amount)
        total = 0 if total == 1 else total
        self.record_both(
            "create_usage_event", user_id, name, total, v1.USAGE_ACTION_SET, self.event_id(user_id, key), ()
        )

    @rule(
        who=strategies.users,
        feature=strategies.any_features,
        amount=strategies.any_amounts,
        key=strategies.event_numbers,
        metadata=strategies.metadata,
    )
    def check_then_use(self, who: int, feature: int, amount: Amount, key: int | None, metadata: Metadata) -> None:
        """Check an amount, then use it: the check must allow exactly what the use is given."""
        user_id, name = self.user_ids[who], self.features[feature]
        delta, event_id = self.amount(user_id, name, amount), self.event_id(user_id, key)
        checked = self.call_both("can_use", user_id, name, delta)
        used = self.record_both("use_feature", user_id, name, delta, event_id, metadata)
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
        """Use a feature without a check before."""
        user_id, name = self.user_ids[who], self.features[feature]
        delta = self.amount(user_id, name, amount)
        self.record_both("use_feature", user_id, name, delta, self.event_id(user_id, key), ())

    @rule(who=strategies.users, charges=strategies.charges, key=strategies.event_numbers, metadata=strategies.metadata)
    def use_several(
        self, who: int, charges: tuple[tuple[int, Amount], ...], key: int | None, metadata: Metadata
    ) -> None:
        """Use several features, all or none; a refusal without an event id must leave the store as it was."""
        user_id, event_id = self.user_ids[who], self.event_id(self.user_ids[who], key)
        feature_ids = [(self.features[feature], amount) for feature, amount in charges]
        requested = tuple((name, self.amount(user_id, name, amount)) for name, amount in feature_ids)
        # The first read after a period has ended renews the entitlements, which writes.
        self.call_both("list_entitlements", user_id)
        before = self.stored(user_id)
        answer = self.record_both("use_features", user_id, requested, event_id, metadata)
        if not event_id and (isinstance(answer, Refusal) or not answer.access):
            assert self.stored(user_id) == before

    @rule(uses=strategies.batches)
    def record_many(self, uses: list[tuple[int, int, Amount, int | None]]) -> None:
        """Record many uses in one call."""
        requests = []
        for who, feature, amount, key in uses:
            user_id, name = self.user_ids[who], self.features[feature]
            event_id = self.event_id(user_id, key)
            requests.append((user_id, name, self.amount(user_id, name, amount), v1.USAGE_ACTION_ADD, event_id, ()))
        self.call_both("batch_create_usage_events", tuple(requests))

    @rule(uses=strategies.batches)
    def use_many(self, uses: list[tuple[int, int, Amount, int | None]]) -> None:
        """Check and record many uses in one call."""
        requests = []
        for who, feature, amount, key in uses:
            user_id, name = self.user_ids[who], self.features[feature]
            requests.append((user_id, name, self.amount(user_id, name, amount), self.event_id(user_id, key), ()))
        self.call_both("batch_use_feature", tuple(requests))

    @rule(uses=strategies.batches)
    def check_many(self, uses: list[tuple[int, int, Amount, int | None]]) -> None:
        """Make many checks in one call."""
        checks = [(self.user_ids[who], self.features[feature], amount) for who, feature, amount, _ in uses]
        self.call_both(
            "batch_can_use",
            tuple((user_id, name, self.amount(user_id, name, amount)) for user_id, name, amount in checks),
        )

    @precondition(lambda self: self.repeatable_calls)
    @rule(which=strategies.numbers, other=strategies.repeat_changes)
    def repeat_call(self, which: int, other: str) -> None:
        """Repeat a call with an event id that is certainly remembered, with the same content or another."""
        name, (user_id, *rest, event_id, metadata) = self.repeatable_calls[-1 - which % len(self.repeatable_calls)]
        remembered = self.model.users[user_id].remembered.get(event_id)
        if remembered is not None and self.model.now - remembered.time > DEDUPE_TTL:
            return
        if other == "metadata":
            metadata = () if metadata else (("by", "x"),)
        elif other == "amount" and name == "use_features":
            ((feature, delta), *charges) = rest[0]
            rest = [((feature, other_amount(delta)), *charges)]
        elif other == "amount":
            rest[1] = other_amount(rest[1])
        self.call_both(name, user_id, *rest, event_id, metadata)

    # Subscriptions and grants

    @rule(
        who=strategies.users,
        packages=strategies.package_numbers,
        started=strategies.none | strategies.distances,
        trial=strategies.trials,
        status=strategies.some_statuses,
    )
    def subscribe_to(
        self,
        who: int,
        packages: list[int],
        started: int | None,
        trial: int | None,
        status: v1.SubscriptionStatus.ValueType | None,
    ) -> None:
        """Subscribe."""
        feature_ids = [self.packages[number] for number in packages]
        self.subscribe(self.user_ids[who], feature_ids, self.at_distance(started), self.at_distance(trial), status)

    def has_subscriptions(self) -> bool:
        """Whether there is a subscription."""
        return any(user.subscriptions for user in self.model.users.values())

    def subscription_id(self, number: int) -> str:
        """Return the id of a subscription."""
        ids = [subscription_id.id for user in self.model.users.values() for subscription_id in user.subscriptions]
        return ids[number % len(ids)]

    @precondition(has_subscriptions)
    @rule(number=strategies.numbers, changes=strategies.changes)
    def change_subscription(self, number: int, changes: dict[str, int | None]) -> None:
        """Change the status or the end of a subscription."""
        at = {name: value if name == "status" else self.at_distance(value) for name, value in changes.items()}
        self.call_both("update_subscription", self.subscription_id(number), at)

    @precondition(has_subscriptions)
    @rule(number=strategies.numbers, at_period_end=strategies.booleans)
    def cancel_subscription(self, number: int, at_period_end: bool) -> None:
        """Cancel a subscription."""
        self.call_both("cancel_subscription", self.subscription_id(number), at_period_end)

    @rule(
        who=strategies.users,
        number=strategies.grant_numbers,
        feature=strategies.any_features,
        amount=strategies.grant_amounts,
        effective=strategies.none | strategies.distances,
        expires=strategies.none | strategies.future_distances,
        priority=strategies.priorities,
    )
    def create_grant(
        self,
        who: int,
        number: int | None,
        feature: int,
        amount: int | None,
        effective: int | None,
        expires: int | None,
        priority: int,
    ) -> None:
        """Create a grant, repeat its creation, or try to create another one with its id."""
        start = self.at_distance(effective)
        end = None if expires is None else (self.model.now if start is None else start) + expires
        if number is None:
            number = len(self.model.users[self.user_ids[who]].grants())
        requested = GrantRequest(f"g{number}", self.features[feature], amount, start, end, priority, "")
        self.call_both("create_grant", self.user_ids[who], requested)

    @precondition(lambda self: any(user.grants() for user in self.model.users.values()))
    @rule(number=strategies.numbers, wrong=strategies.rarely)
    def revoke_grant(self, number: int, wrong: bool) -> None:
        """Revoke a grant; sometimes one that does not exist."""
        ids = [(user.id, grant.id) for user in self.model.users.values() for grant in user.grants()]
        user_id, grant_id = ids[number % len(ids)]
        self.call_both("revoke_grant", user_id, f"{grant_id}?" if wrong else grant_id)

    # Packages

    @rule(which=strategies.packages, entries=strategies.entry_lists(), publish=strategies.often)
    def edit_package(self, which: int, entries: tuple[Entry, ...], publish: bool) -> None:
        """Change a package, which creates its next version, and mostly publish that."""
        package = self.packages[which]
        self.call_both("update_package", package, self.with_feature_ids(entries))
        if publish:
            self.call_both("publish_package", package)

    @precondition(lambda self: any(len(package.published) > 1 for package in self.model.packages.values()))
    @rule(which=strategies.packages, old=strategies.versions, new=strategies.versions, dry_run=strategies.sometimes)
    def migrate(self, which: int, old: int, new: int, dry_run: bool) -> None:
        """Migrate the subscriptions of a package, or do a dry run."""
        package = self.packages[which]
        self.call_both("migrate_subscriptions", package, old, new, dry_run)
        self.call_both("get_package", package, new)

    @rule(said=strategies.document_packages, archive=strategies.very_rarely, dry_run=strategies.sometimes)
    def apply_document(
        self, said: list[tuple[int, str | tuple[Entry, ...], str | tuple[Entry, ...]]], archive: bool, dry_run: bool
    ) -> None:
        """Apply a catalogue as one document, or do a dry run, and apply it once more: that must change nothing."""
        document = []
        for which, published, draft in said:
            package = self.model.packages[self.packages[which]]
            stored_draft = package.entries if package.status == v1.PACKAGE_STATUS_DRAFT else None
            contents = (
                self.version(published, package.published[package.current()]),
                self.version(draft, stored_draft),
            )
            if any(content is not None for content in contents):
                document.append((package.id, *contents))
        archived = (self.features[0],) if archive else ()
        applied = self.call_both("apply_catalog", archived, tuple(document), dry_run)
        if dry_run or isinstance(applied, Refusal):
            return
        if archived:
            type(self).shared_features = []
        assert not self.call_both("apply_catalog", archived, tuple(document), False).changes
        for package_id, *_ in document:
            self.call_both("get_package", package_id, 0)
            self.call_both("get_package", package_id, self.model.packages[package_id].current())

    def version(self, said: str | tuple[Entry, ...], stored: tuple[Entry, ...] | None) -> tuple[Entry, ...] | None:
        """Return the entries that a document says about a version."""
        if isinstance(said, str):
            return stored if said == "stored" else None
        return self.with_feature_ids(said)

    # Time, reads and disruptions

    @rule(which=strategies.numbers, off=strategies.offsets)
    def wait_for_a_boundary(self, which: int, off: int) -> None:
        """Move the clock just before, to or just after a moment at which something changes."""
        dates = sorted(
            {date for user in self.model.users.values() for date in user.dates() if date + off > self.model.now}
        )
        if dates:
            self.set_clock(dates[min(which, len(dates) - 1)] + off)

    @rule(which=strategies.numbers, off=strategies.offsets, amount=strategies.amounts, way=strategies.use_methods)
    def use_at_the_end_of_a_period(self, which: int, off: int, amount: Amount, way: str) -> None:
        """Use or check a feature just before, at or just after the end of the period in which it was used."""
        periods = self.periods()
        if not periods:
            return
        user_id, name, end = periods[which % len(periods)]
        if end + off > self.model.now:
            self.set_clock(end + off)
        delta = self.amount(user_id, name, amount)
        if way == "check":
            self.call_both("can_use", user_id, name, delta)
        elif way == "use":
            self.call_both("use_feature", user_id, name, delta, "", ())
        else:
            self.call_both("create_usage_event", user_id, name, delta, v1.USAGE_ACTION_ADD, "", ())

    def periods(self) -> list[tuple[str, str, int]]:
        """Return users and features with a use in a period that ends, and its end."""
        return [
            (user.id, account.feature, account.terms.end)
            for user in self.model.users.values()
            for account in user.accounts.values()
            if account.used and account.terms is not None and account.terms.end is not None
        ]

    @rule(wait=strategies.waiting_times)
    def wait(self, wait: int) -> None:
        """Move the clock."""
        self.set_clock(self.model.now + wait)

    @rule(who=strategies.users, feature=strategies.any_features, delta=strategies.any_amounts)
    def check_one_feature(self, who: int, feature: int, delta: Amount) -> None:
        """Read everything about one feature of a user."""
        user_id, name = self.user_ids[who], self.features[feature]
        self.call_both("explain", user_id, name, self.amount(user_id, name, delta))
        self.call_both("show_usage", user_id, name)

    @rule(who=strategies.users)
    def list_entitlements(self, who: int) -> None:
        """List the entitlements of a user."""
        self.call_both("list_entitlements", self.user_ids[who])

    @rule(
        number=strategies.numbers,
        feature=strategies.none | strategies.features,
        since=strategies.range_offsets,
        until=strategies.range_offsets,
    )
    def list_events_around(self, number: int, feature: int | None, since: int | None, until: int | None) -> None:
        """List the events around one of them."""
        events = [(user.id, event.time) for user in self.model.users.values() for event in user.events]
        if not events:
            return
        user_id, time = events[-1 - number % len(events)]
        start, end = (None if edge is None else time + edge for edge in (since, until))
        self.call_both("list_usage_events", user_id, "" if feature is None else self.features[feature], start, end)

    @rule(
        number=strategies.numbers,
        feature=strategies.none | strategies.features,
        since=strategies.range_offsets,
        until=strategies.range_offsets,
    )
    def list_totals_around(self, number: int, feature: int | None, since: int | None, until: int | None) -> None:
        """List the usage totals of all users around the start of one of their periods."""
        totals = self.model.list_usage_totals("", None, None)
        time = totals[-1 - number % len(totals)].start if totals else self.model.now
        start, end = (None if edge is None else max(0, time + edge) for edge in (since, until))
        self.call_both("list_usage_totals", "" if feature is None else self.features[feature], start, end)

    @rule(which=strategies.packages, status=strategies.some_statuses)
    def search_subscriptions(self, which: int, status: v1.SubscriptionStatus.ValueType | None) -> None:
        """List the subscriptions of all users to a package."""
        self.call_both("search_subscriptions", self.packages[which], status or v1.SUBSCRIPTION_STATUS_UNSPECIFIED)

    @rule(really=strategies.rarely, what=strategies.disruptions, number=strategies.numbers)
    def disrupt(self, really: bool, what: str, number: int) -> None:
        """Disable or enable a user, archive a feature or a package, or delete a user and create them again."""
        if not really:
            return
        if what == "feature":
            self.call_both("archive_feature", self.features[number % len(self.features)])
            type(self).shared_features = []
        elif what == "package":
            self.call_both("archive_package", self.packages[number % len(self.packages)])
        elif what == "user":
            user_id = self.user_ids[number % 2]
            self.call_both("delete_user", user_id)
            self.call_both("create_user", user_id)
        else:
            self.call_both("disable_user", self.user_ids[number % 2], what == "disable")
