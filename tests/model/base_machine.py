"""The base of the state machine: the server and the model side by side, and the objects of one example."""

from shutil import rmtree
from typing import Any, ClassVar, Final

from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, initialize
from redis import Redis

from canuse import v1
from canuse_server.store.keys import bucket_of
from model import strategies
from model.account import Account
from model.model import Model
from model.observations import (
    DEDUPE_TTL,
    Ensured,
    Entry,
    Granted,
    GrantRequest,
    PackageChanged,
    Refusal,
    SubscriptionView,
    outcome,
)
from model.periods import EPOCH, time_of
from model.strategies import Amount
from model.system_under_test import SystemUnderTest
from support.processes import Canuse
from support.resources import unique
from support.store_inspection import user_in_same_bucket
from support.stores import store_of

LATEST: Final = time_of(EPOCH.replace(year=8900))
"""No example starts later: a server's clock ends with the year 8999."""
InitialGrant = tuple[int, int | None, int | None, int]
PackageContents = tuple[tuple[Entry, ...], tuple[Entry, ...], tuple[Entry, ...]]


class BaseMachine(RuleBasedStateMachine):
    """Each example has its own users and packages. The features are shared until one of them is archived."""

    canuse: ClassVar[Canuse]
    connection: ClassVar[SystemUnderTest | None] = None
    store: ClassVar[Redis | None] = None
    shared_features: ClassVar[list[str]] = []
    """Features that are not archived, for the following examples."""
    compared: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.differs = False
        self.model = Model(0)
        self.features: list[str] = []
        self.user_ids: list[str] = []
        self.packages: list[str] = []
        self.repeatable_calls: list[tuple[str, tuple[Any, ...]]] = []
        self.leases: list[tuple[str, str]] = []

    @initialize(
        start=strategies.starts,
        package_contents=strategies.package_contents,
        kind=strategies.kinds,
        initial_grants=strategies.initial_grants,
    )
    def set_up(
        self,
        start: int,
        package_contents: PackageContents,
        kind: v1.PackageType.ValueType,
        initial_grants: list[InitialGrant],
    ) -> None:
        """Move the clock to a place in a leap-year cycle chosen by the example, and create packages and users."""
        if self.server.clock() > LATEST:
            self._restart_empty()
        self.model = Model(next_cycle(self.server.clock(), start))
        self.server.set_clock(self.model.now)
        self._create_features()
        kinds = (v1.PACKAGE_TYPE_BASE, v1.PACKAGE_TYPE_ADD_ON, kind)
        for type_, entries in zip(kinds, package_contents, strict=True):
            self.packages.append(unique("package"))
            self.call_both("create_package", self.packages[-1], type_, self.with_feature_ids(entries))
            self.call_both("publish_package", self.packages[-1])
        first = unique("user")
        # Both users are in one bucket, so that they share a ledger.
        self.user_ids = [first, user_in_same_bucket(first)]
        for user_id in self.user_ids:
            self.call_both("create_user", user_id)
        for user_id, package in zip(self.user_ids, self.packages, strict=False):
            self.subscribe(user_id, [package])
        for number, (feature, amount, expires_in, priority) in enumerate(initial_grants):
            expires = None if expires_in is None else self.model.now + expires_in
            requested = GrantRequest(f"g{number}", self.features[feature], amount, None, expires, priority, "")
            self.call_both("create_grant", first, requested)

    @property
    def server(self) -> SystemUnderTest:
        """The server under test."""
        kind = type(self)
        if kind.connection is None:
            kind.connection, kind.shared_features = SystemUnderTest(kind.canuse.address), []
        return kind.connection

    def stored(self, user_id: str) -> dict[bytes, object]:
        """Return everything, as bytes, that the store keeps in the bucket of a user."""
        kind = type(self)
        if kind.store is None:
            kind.store = store_of(kind.canuse)
        tag = f"canuse:live:{{b{bucket_of(user_id):04d}}}:*"
        return {key: kind.store.dump(key) for key in kind.store.scan_iter(match=tag, count=10_000)}

    @classmethod
    def disconnect(cls) -> None:
        """Close the connection to the server."""
        if cls.connection is not None:
            cls.connection.close()
        if cls.store is not None:
            cls.store.close()
        cls.connection = cls.store = None

    def _restart_empty(self) -> None:
        """Restart the server on an empty store, whose clock shows the present."""
        self.disconnect()
        self.canuse.stop()
        rmtree(self.canuse.env["CANUSE_DATA_DIR"])
        self.canuse.start()

    def _create_features(self) -> None:
        kind = type(self)
        are_binary = [number >= strategies.CONSUMABLES for number in range(strategies.CONSUMABLES + 1)]
        if not kind.shared_features:
            name = unique("feature")
            kind.shared_features = [f"{name}-{number}" for number in range(len(are_binary))]
            for feature, binary in zip(kind.shared_features, are_binary, strict=True):
                self.server.create_feature(feature, binary)
        self.features = kind.shared_features
        for feature, binary in zip(self.features, are_binary, strict=True):
            self.model.create_feature(feature, binary)

    def call_both(self, name: str, *arguments: Any) -> Any:
        """Make a call to the server and to the model; their answers must be equal."""
        answer = outcome(getattr(self.server, name), *arguments)
        self.compare_with_model(answer, name, *arguments)
        return answer

    def compare_with_model(self, answer: Any, name: str, *arguments: Any) -> None:
        """Make a call to the model and compare its answer with that of the server."""
        expected = outcome(getattr(self.model, name), *arguments)
        type(self).compared += 1
        note(f"{name}{arguments} at {self.model.now}\n    -> {answer}")
        self.differs = self.differs or answer != expected
        assert answer == expected, f"{name}{arguments}: the server says\n  {answer}\nthe model says\n  {expected}"

    def subscribe(
        self,
        user_id: str,
        packages: list[str],
        started: int | None = None,
        trial_end: int | None = None,
        status: v1.SubscriptionStatus.ValueType | None = None,
    ) -> None:
        """Subscribe; the model is given the ids that the server chose."""
        requested = (user_id, tuple(packages), started, trial_end, status)
        answer: list[SubscriptionView] | Refusal = outcome(self.server.subscribe, *requested)
        ids = tuple(packages) if isinstance(answer, Refusal) else tuple(subscription.id for subscription in answer)
        self.compare_with_model(answer, "subscribe", *requested, ids)

    def change_package(self, *requested: Any) -> None:
        """Change the base package; the model is given the id that the server chose."""
        answer: PackageChanged | Refusal = outcome(self.server.change_package, *requested)
        new_id = "" if isinstance(answer, Refusal) else answer.subscription.id
        self.compare_with_model(answer, "change_package", *requested, new_id)

    def ensure_user(self, *requested: Any) -> None:
        """Ensure a user; the model is given the id that the server chose for the subscription."""
        answer: Ensured | Refusal = outcome(self.server.ensure_user, *requested)
        view = None if isinstance(answer, Refusal) else answer.subscription
        self.compare_with_model(answer, "ensure_user", *requested, "" if view is None else view.id)

    def reserve(self, user_id: str, *requested: Any) -> None:
        """Reserve; the model is given the lease id that the server chose."""
        answer: Granted | Refusal = outcome(self.server.reserve, user_id, *requested)
        lease_id = "" if isinstance(answer, Refusal) else answer.lease
        self.compare_with_model(answer, "reserve", user_id, *requested, lease_id)
        if lease_id and (user_id, lease_id) not in self.leases:
            self.leases.append((user_id, lease_id))

    def with_feature_ids(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """Return entries with the ids of features instead of their numbers."""
        return tuple(entry._replace(feature=self.features[int(entry.feature)]) for entry in entries)

    def event_id(self, user_id: str, number: int | None) -> str:
        """Return one of a few event ids; one that may have been forgotten by now is not used again."""
        if number is None or user_id not in self.model.users:
            return ""
        remembered = self.model.users[user_id].remembered
        for age in range(1000):
            name = f"e{number}-{age}"
            if name not in remembered or self.model.now - remembered[name].time <= DEDUPE_TTL:
                return name
        raise AssertionError("time passes too fast")

    def record_both(self, name: str, user_id: str, *arguments: Any) -> Any:
        """Make a call that records; one with an event id can be repeated later."""
        if arguments[-2]:
            self.repeatable_calls.append((name, (user_id, *arguments)))
        return self.call_both(name, user_id, *arguments)

    def amount(self, user_id: str, feature: str, amount: Amount) -> int:
        """Return an amount relative to what a user has used."""
        user = self.model.users.get(user_id)
        account = Account(feature) if user is None else user.account(feature)
        return amount.of(account, self.model.now)

    def set_clock(self, now: int) -> None:
        """Move the clock."""
        self.server.set_clock(now)
        self.model.set_clock(now)

    def compare(self, user_id: str) -> None:
        """Compare everything the API shows of a user."""
        self.call_both("list_subscriptions", user_id)
        self.call_both("list_grants", user_id)
        for feature in self.features[: strategies.CONSUMABLES]:
            self.call_both("show_usage", user_id, feature)
        self.call_both("list_entitlements", user_id)
        self.call_both("list_usage_events", user_id, "", None, None)

    def teardown(self) -> None:
        """Compare everything, and delete the users: a migration goes through all users there are."""
        try:
            if not self.differs:
                for user_id in self.user_ids:
                    self.compare(user_id)
                self.call_both("list_usage_totals", "", None, None)
                for package in self.packages:
                    self.call_both("get_package", package, 0)
        finally:
            for user_id in self.user_ids:
                outcome(self.server.delete_user, user_id)


def next_cycle(now: int, offset: int) -> int:
    """Return the next moment at an offset from the start of a leap year, within years of equal shape.

    So an example does the same whatever the clock has shown before.
    """
    year = 1972
    while time_of(EPOCH.replace(year=year)) + offset <= now or any(
        other % 100 == 0 and other % 400 for other in range(year, year + 8)
    ):
        year += 4
    return time_of(EPOCH.replace(year=year)) + offset
