"""What the state machine stands on: the server and the model side by side, and the things of one example."""

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
from model.observations import DEDUPE_TTL, Entry, Granted, Refusal, SubscriptionView, Wanted, outcome
from model.periods import EPOCH, time_of
from model.strategies import Amount
from model.system_under_test import Real
from support.processes import Canuse
from support.resources import unique
from support.store_inspection import neighbour
from support.stores import store_of

LATEST: Final = time_of(EPOCH.replace(year=8900))
"""No example starts later: the clock of a server ends with the year 8999."""
Gift = tuple[int, int | None, int | None, int]
Plans = tuple[tuple[Entry, ...], tuple[Entry, ...], tuple[Entry, ...]]


class Ground(RuleBasedStateMachine):
    """Each example has users and packages of its own. The features stay, unless one was archived."""

    canuse: ClassVar[Canuse]
    connection: ClassVar[Real | None] = None
    store: ClassVar[Redis | None] = None
    unspoilt: ClassVar[list[str]] = []
    """Features that are not archived, for the examples to come."""
    compared: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.differs = False
        self.model = Model(0)
        self.features: list[str] = []
        self.users: list[str] = []
        self.packages: list[str] = []
        self.keyed: list[tuple[str, tuple[Any, ...]]] = []
        self.leases: list[tuple[str, str]] = []

    @initialize(start=strategies.starts, plans=strategies.plans, kind=strategies.kinds, gifts=strategies.gifts)
    def begin(self, start: int, plans: Plans, kind: v1.PackageType.ValueType, gifts: list[Gift]) -> None:
        """Move the clock to a place in a leap cycle that the example chooses, and set out packages and users."""
        if self.real.clock() > LATEST:
            self._begin_anew()
        self.model = Model(next_place(self.real.clock(), start))
        self.real.set_clock(self.model.now)
        self._have_features()
        kinds = (v1.PACKAGE_TYPE_BASE, v1.PACKAGE_TYPE_ADD_ON, kind)
        for type_, entries in zip(kinds, plans, strict=True):
            self.packages.append(unique("package"))
            self.both("create_package", self.packages[-1], type_, self.named(entries))
            self.both("publish_package", self.packages[-1])
        first = unique("user")
        # Both are in one bucket, so that they share a ledger.
        self.users = [first, neighbour(first)]
        for user in self.users:
            self.both("create_user", user)
        for user, package in zip(self.users, self.packages, strict=False):
            self.subscribe(user, [package])
        for number, (feature, amount, ahead, priority) in enumerate(gifts):
            expires = None if ahead is None else self.model.now + ahead
            wanted = Wanted(f"g{number}", self.features[feature], amount, None, expires, priority, "")
            self.both("create_grant", first, wanted)

    @property
    def real(self) -> Real:
        """The server."""
        kind = type(self)
        if kind.connection is None:
            kind.connection, kind.unspoilt = Real(kind.canuse.address), []
        return kind.connection

    def kept(self, user: str) -> dict[bytes, object]:
        """Return, byte by byte, all that the store keeps in the bucket of a user."""
        kind = type(self)
        if kind.store is None:
            kind.store = store_of(kind.canuse)
        tag = f"canuse:live:{{b{bucket_of(user):04d}}}:*"
        return {key: kind.store.dump(key) for key in kind.store.scan_iter(match=tag, count=10_000)}

    @classmethod
    def disconnect(cls) -> None:
        """Close the connection to the server."""
        if cls.connection is not None:
            cls.connection.close()
        if cls.store is not None:
            cls.store.close()
        cls.connection = cls.store = None

    def _begin_anew(self) -> None:
        """Start the server on an empty store, where its clock shows the present."""
        self.disconnect()
        self.canuse.stop()
        rmtree(self.canuse.env["CANUSE_DATA_DIR"])
        self.canuse.start()

    def _have_features(self) -> None:
        kind = type(self)
        switches = [number >= strategies.CONSUMABLES for number in range(strategies.CONSUMABLES + 1)]
        if not kind.unspoilt:
            name = unique("feature")
            kind.unspoilt = [f"{name}-{number}" for number in range(len(switches))]
            for feature, binary in zip(kind.unspoilt, switches, strict=True):
                self.real.create_feature(feature, binary)
        self.features = kind.unspoilt
        for feature, binary in zip(self.features, switches, strict=True):
            self.model.create_feature(feature, binary)

    def both(self, name: str, *arguments: Any) -> Any:
        """Make a call to the server and to the model; the answers have to be the same."""
        answer = outcome(getattr(self.real, name), *arguments)
        self.agree(answer, name, *arguments)
        return answer

    def agree(self, answer: Any, name: str, *arguments: Any) -> None:
        """Make the model agree with an answer of the server."""
        expected = outcome(getattr(self.model, name), *arguments)
        type(self).compared += 1
        note(f"{name}{arguments} at {self.model.now}\n    -> {answer}")
        self.differs = self.differs or answer != expected
        assert answer == expected, f"{name}{arguments}: the server says\n  {answer}\nthe model says\n  {expected}"

    def subscribe(
        self,
        user: str,
        packages: list[str],
        started: int | None = None,
        trial_end: int | None = None,
        status: v1.SubscriptionStatus.ValueType | None = None,
    ) -> None:
        """Subscribe; only the server knows which ids come of it."""
        wanted = (user, tuple(packages), started, trial_end, status)
        answer: list[SubscriptionView] | Refusal = outcome(self.real.subscribe, *wanted)
        ids = tuple(packages) if isinstance(answer, Refusal) else tuple(held.id for held in answer)
        self.agree(answer, "subscribe", *wanted, ids)

    def reserve(self, user: str, *wanted: Any) -> None:
        """Reserve; only the server knows which id a lease gets."""
        answer: Granted | Refusal = outcome(self.real.reserve, user, *wanted)
        lease_id = "" if isinstance(answer, Refusal) else answer.lease
        self.agree(answer, "reserve", user, *wanted, lease_id)
        if lease_id and (user, lease_id) not in self.leases:
            self.leases.append((user, lease_id))

    def named(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """Return entries with the ids of features in place of their numbers."""
        return tuple(entry._replace(feature=self.features[int(entry.feature)]) for entry in entries)

    def event_id(self, user: str, number: int | None) -> str:
        """Return one of a few event ids; those that may have been forgotten by now are not used again."""
        if number is None or user not in self.model.people:
            return ""
        remembered = self.model.people[user].remembered
        for age in range(1000):
            name = f"e{number}-{age}"
            if name not in remembered or self.model.now - remembered[name].time <= DEDUPE_TTL:
                return name
        raise AssertionError("time passes too fast")

    def record_both(self, name: str, user: str, *arguments: Any) -> Any:
        """Make a call that records; one with an event id can be made again later."""
        if arguments[-2]:
            self.keyed.append((name, (user, *arguments)))
        return self.both(name, user, *arguments)

    def amount(self, user: str, feature: str, amount: Amount) -> int:
        """Return an amount by where it stands to what a user has used."""
        person = self.model.people.get(user)
        account = Account(feature) if person is None else person.account(feature)
        return amount.of(account, self.model.now)

    def move(self, now: int) -> None:
        """Move the clock."""
        self.real.set_clock(now)
        self.model.set_clock(now)

    def compare(self, user: str) -> None:
        """Compare all that there is to see of a user."""
        self.both("list_subscriptions", user)
        self.both("list_grants", user)
        for feature in self.features[: strategies.CONSUMABLES]:
            self.both("show_usage", user, feature)
        self.both("list_entitlements", user)
        self.both("list_usage_events", user, "", None, None)

    def teardown(self) -> None:
        """Compare everything, and leave no users behind: a migration looks at all that there are."""
        try:
            if not self.differs:
                for user in self.users:
                    self.compare(user)
                for package in self.packages:
                    self.both("get_package", package, 0)
        finally:
            for user in self.users:
                outcome(self.real.delete_user, user)


def next_place(now: int, offset: int) -> int:
    """Return the next moment that is so far from the start of a leap year, in years that are all like each other.

    So an example does the same whatever the clock has shown before.
    """
    year = 1972
    while time_of(EPOCH.replace(year=year)) + offset <= now or any(
        other % 100 == 0 and other % 400 for other in range(year, year + 8)
    ):
        year += 4
    return time_of(EPOCH.replace(year=year)) + offset
