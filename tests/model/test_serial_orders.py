"""Two writers change one user through two servers while others record: it comes to what some order would come to."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from typing import Final

import pytest

from canuse import v1
from model.model import Model
from model.observations import Entry, SubscriptionView, Wanted
from model.periods import HOUR
from model.serial_orders import orders
from model.system_under_test import Real
from support.load import running
from support.processes import Canuse
from support.resources import unique
from support.stores import valkey_socket

ROUNDS: Final = 40
SEED: Final = 4
PLANS: Final = ((v1.PACKAGE_TYPE_BASE, 4), (v1.PACKAGE_TYPE_ADD_ON, 6), (v1.PACKAGE_TYPE_ADD_ON, 9))
"""The packages that there are, with their limits."""

Either = Model | Real
Step = Callable[[Either], object]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Real]]:
    """Two servers, one on each transport, on the embedded Valkey of the first one."""
    with ExitStack() as stack:
        first = stack.enter_context(running(Canuse(tmp_path_factory.mktemp("first"), "--transport", "native")))
        store = ("--redis-url", f"unix://{valkey_socket(first)}")
        second = Canuse(tmp_path_factory.mktemp("second"), "--transport", "grpcio", *store)
        reals = [Real(canuse.address) for canuse in (first, stack.enter_context(running(second)))]
        for real in reals:
            stack.callback(real.close)
        yield reals


class Story:
    """A user with a base package and a grant, and what can be done to them."""

    def __init__(self, real: Real, feature: str, packages: list[str]) -> None:
        self.user = unique("user")
        self.feature = feature
        self.packages = packages
        now = time.time_ns() // 1_000_000
        self.start = now - HOUR
        self.model = Model(now)
        set_out(self.model, feature, packages)
        for world in (real, self.model):
            world.create_user(self.user)
            self.give(world, "g0", priority=1)
        (self.base,) = self.subscribe(real, packages[0])
        self.subscribe(self.model, packages[0], self.base.id)

    def subscribe(self, world: Either, package: str, held_id: str = "") -> list[SubscriptionView]:
        """Subscribe to a package; the model has to be told an id."""
        wanted = (self.user, (package,), self.start, None, None)
        if isinstance(world, Model):
            return world.subscribe(*wanted, (held_id or package,))
        return world.subscribe(*wanted)

    def give(self, world: Either, grant_id: str, priority: int) -> None:
        """Create a grant."""
        world.create_grant(self.user, Wanted(grant_id, self.feature, 3, self.start, None, priority, ""))

    def use(self, world: Either) -> None:
        """Record a use."""
        world.create_usage_event(self.user, self.feature, 2, v1.USAGE_ACTION_ADD, "", ())

    def changes(self) -> list[Step]:
        """Return what a writer may do."""
        base = self.base.id
        return [
            lambda world: self.subscribe(world, self.packages[1]),
            lambda world: self.subscribe(world, self.packages[2]),
            lambda world: self.give(world, "g1", priority=0),
            lambda world: self.give(world, "g2", priority=2),
            lambda world: world.revoke_grant(self.user, "g0"),
            lambda world: world.cancel_subscription(base, at_period_end=False),
            lambda world: world.update_subscription(base, {"status": v1.SUBSCRIPTION_STATUS_PAST_DUE}),
            lambda world: world.update_subscription(base, {"status": v1.SUBSCRIPTION_STATUS_ACTIVE}),
        ]

    def seen(self, world: Either) -> object:
        """Return all there is to see of the user, but for what is not known ahead: ids, and when things were done."""
        usage = world.show_usage(self.user, self.feature)
        (entitled,) = world.list_entitlements(self.user)
        views = world.list_subscriptions(self.user)
        held = sorted((view.package, view.status, view.cancel_at is None) for view in views)
        grants = [(view.id, view.revoked is None) for view in world.list_grants(self.user)]
        balances = [balance[1:] for balance in usage.sources]
        events = [event[1:] for event in world.list_usage_events(self.user, "", None, None)]
        return usage.current, usage.past, balances, events, entitled[1:4], len(entitled.subscriptions), held, grants


def set_out(world: Either, feature: str, packages: Sequence[str]) -> None:
    """Create a feature, and packages that list it."""
    world.create_feature(feature, binary=False)
    for package, (kind, limit) in zip(packages, PLANS, strict=True):
        world.create_package(package, kind, (Entry(feature, limit, v1.RESET_PERIOD_NEVER, overage=False),))
        world.publish_package(package)


def test_what_two_writers_and_two_recorders_do_at_once_comes_to_what_one_order_would(servers: list[Real]) -> None:
    choose, feature, packages = random.Random(SEED), unique("feature"), [unique("package") for _ in PLANS]
    set_out(servers[0], feature, packages)
    together = Barrier(4)

    def work(real: Real, steps: Sequence[Step]) -> None:
        together.wait()
        for step in steps:
            step(real)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(ROUNDS):
            story = Story(servers[0], feature, packages)
            first, second, third, fourth = choose.sample(story.changes(), 4)
            uses: list[Step] = [story.use] * 3
            threads = [[first, second], [third, fourth], uses[:2], uses[2:]]
            # Nothing of this is refused, in any order.
            list(pool.map(work, [*servers, *servers], threads))
            # It makes no difference which of the recorders comes first.
            possible = orders(story.model, [*threads[:2], uses])
            seen = story.seen(servers[0])
            assert seen == story.seen(servers[1])
            assert seen in [story.seen(model) for model in possible]
