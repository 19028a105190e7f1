"""The rules of the state machine that change the base package, and that ensure a user."""

from hypothesis.stateful import initialize, rule

from canuse import v1
from model import strategies
from model.lease_rules import LeaseRules
from model.observations import Entry
from model.sources import ENDED
from support.resources import unique

Change = tuple[int, bool, int | None]
"""The number of a base package, whether it is changed to at the end of the period, and the number of an event id."""


class PackageRules(LeaseRules):
    """Rules about base packages. The packages besides the first are made when they are needed."""

    def __init__(self) -> None:
        super().__init__()
        self.more_bases: list[str] = []
        self.base_entries: list[tuple[Entry, ...]] = []

    @initialize(contents=strategies.base_contents)
    def choose_contents(self, contents: list[tuple[Entry, ...]]) -> None:
        """Choose what is in the packages."""
        self.base_entries = contents

    def base_package(self, number: int) -> str:
        """Return a base package; number 0 is the one from the start."""
        while len(self.more_bases) < number:
            entries = self.with_feature_ids(self.base_entries[len(self.more_bases)])
            entries = tuple(entry for entry in entries if not self.model.features[entry.feature].archived)
            self.more_bases.append(unique("base"))
            self.call_both("create_package", self.more_bases[-1], v1.PACKAGE_TYPE_BASE, entries)
            self.call_both("publish_package", self.more_bases[-1])
        return self.packages[0] if number == 0 else self.more_bases[number - 1]

    @rule(
        who=strategies.users,
        late=strategies.sometimes,
        changes=strategies.package_changes,
        add_on=strategies.very_rarely,
    )
    def change_package_of(self, who: int, late: bool, changes: list[Change], add_on: bool) -> None:
        """Change the base package once or several times, sometimes of a subscription whose payment is late."""
        user_id = self.user_ids[who]
        for number, at_period_end, key in changes:
            package = self.packages[1] if add_on else self.base_package(number)
            if late:
                self.miss_payment(user_id)
            self.change_package(user_id, package, at_period_end, self.event_id(user_id, key))

    def miss_payment(self, user_id: str) -> None:
        """Let the current base subscription be past due. There is none if the user was deleted."""
        user, now = self.model.users.get(user_id), self.model.now
        for one in user.subscriptions if user else ():
            if one.base and one.started <= now and one.status_at(now) not in ENDED:
                self.call_both("update_subscription", one.id, {"status": v1.SUBSCRIPTION_STATUS_PAST_DUE})
                return

    @rule(
        who=strategies.users,
        is_new=strategies.sometimes,
        disabled=strategies.none | strategies.none | strategies.booleans,
        package=strategies.none | strategies.packages,
    )
    def ensure(self, who: int, is_new: bool, disabled: bool | None, package: int | None) -> None:
        """Ensure that a user exists and has a package; sometimes one that was deleted just before."""
        user_id = self.user_ids[who]
        if is_new:
            self.call_both("delete_user", user_id)
        self.ensure_user(user_id, disabled, "" if package is None else self.packages[package])
