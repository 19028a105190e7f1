"""Concurrent calls through two servers lead to a state that some serial order of them explains."""

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
from model.observations import Entry, GrantRequest, SubscriptionView
from model.periods import HOUR
from model.serial_orders import serial_outcomes
from model.system_under_test import SystemUnderTest
from support.load import running
from support.processes import Canuse
from support.resources import unique
from support.stores import valkey_socket

ROUNDS: Final = 40
SEED: Final = 4
PLANS: Final = ((v1.PACKAGE_TYPE_BASE, 4), (v1.PACKAGE_TYPE_ADD_ON, 6), (v1.PACKAGE_TYPE_ADD_ON, 9))
"""The packages, with their limits."""

Target = Model | SystemUnderTest
Step = Callable[[Target], object]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[SystemUnderTest]]:
    """Two servers, one on each transport, on the embedded Valkey of the first one."""
    with ExitStack() as stack:
        first = stack.enter_context(running(Canuse(tmp_path_factory.mktemp("first"), "--transport", "native")))
        store = ("--redis-url", f"unix://{valkey_socket(first)}")
        second = Canuse(tmp_path_factory.mktemp("second"), "--transport", "grpcio", *store)
        systems = [SystemUnderTest(canuse.address) for canuse in (first, stack.enter_context(running(second)))]
        for system in systems:
            stack.callback(system.close)
        yield systems


class Scenario:
    """A user with a base package and a grant, and calls that change them."""

    def __init__(self, system: SystemUnderTest, feature: str, packages: list[str]) -> None:
        self.user_id = unique("user")
        self.feature = feature
        self.packages = packages
        now = time.time_ns() // 1_000_000
        self.start = now - HOUR
        self.model = Model(now)
        create_catalog(self.model, feature, packages)
        for target in (system, self.model):
            target.create_user(self.user_id)
            self.create_grant(target, "g0", priority=1)
        (self.base,) = self.subscribe(system, packages[0])
        self.subscribe(self.model, packages[0], self.base.id)

    def subscribe(self, target: Target, package: str, held_id: str = "") -> list[SubscriptionView]:
        """Subscribe to a package; the model must be given an id."""
        arguments = (self.user_id, (package,), self.start, None, None)
        if isinstance(target, Model):
            return target.subscribe(*arguments, (held_id or package,))
        return target.subscribe(*arguments)

    def create_grant(self, target: Target, grant_id: str, priority: int) -> None:
        """Create a grant."""
        target.create_grant(self.user_id, GrantRequest(grant_id, self.feature, 3, self.start, None, priority, ""))

    def use(self, target: Target) -> None:
        """Record a use."""
        target.create_usage_event(self.user_id, self.feature, 2, v1.USAGE_ACTION_ADD, "", ())

    def changes(self) -> list[Step]:
        """Return the calls that a writer may make."""
        base = self.base.id
        return [
            lambda target: self.subscribe(target, self.packages[1]),
            lambda target: self.subscribe(target, self.packages[2]),
            lambda target: self.create_grant(target, "g1", priority=0),
            lambda target: self.create_grant(target, "g2", priority=2),
            lambda target: target.revoke_grant(self.user_id, "g0"),
            lambda target: target.cancel_subscription(base, at_period_end=False),
            lambda target: target.update_subscription(base, {"status": v1.SUBSCRIPTION_STATUS_PAST_DUE}),
            lambda target: target.update_subscription(base, {"status": v1.SUBSCRIPTION_STATUS_ACTIVE}),
        ]

    def observe(self, target: Target) -> object:
        """Return everything the API shows of the user except ids and the times of calls."""
        usage = target.show_usage(self.user_id, self.feature)
        (entitled,) = target.list_entitlements(self.user_id)
        views = target.list_subscriptions(self.user_id)
        subscriptions = sorted((view.package, view.status, view.cancel_at is None) for view in views)
        grants = [(view.id, view.revoked is None) for view in target.list_grants(self.user_id)]
        balances = [balance[1:] for balance in usage.sources]
        events = [event[1:] for event in target.list_usage_events(self.user_id, "", None, None)]
        return (
            usage.current,
            usage.past,
            balances,
            events,
            entitled[1:4],
            len(entitled.subscriptions),
            subscriptions,
            grants,
        )


def create_catalog(target: Target, feature: str, packages: Sequence[str]) -> None:
    """Create a feature, and packages that list it."""
    target.create_feature(feature, binary=False)
    for package, (kind, limit) in zip(packages, PLANS, strict=True):
        target.create_package(package, kind, (Entry(feature, limit, v1.RESET_PERIOD_NEVER, overage=False),))
        target.publish_package(package)


@pytest.mark.extended
def test_two_concurrent_writers_and_two_recorders_lead_to_the_state_of_some_serial_order(
    servers: list[SystemUnderTest],
) -> None:
    rng, feature, packages = random.Random(SEED), unique("feature"), [unique("package") for _ in PLANS]
    create_catalog(servers[0], feature, packages)
    together = Barrier(4)

    def work(system: SystemUnderTest, steps: Sequence[Step]) -> None:
        together.wait()
        for step in steps:
            step(system)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(ROUNDS):
            scenario = Scenario(servers[0], feature, packages)
            first, second, third, fourth = rng.sample(scenario.changes(), 4)
            uses: list[Step] = [scenario.use] * 3
            threads = [[first, second], [third, fourth], uses[:2], uses[2:]]
            # None of these calls is refused, in any order.
            list(pool.map(work, [*servers, *servers], threads))
            # The order of the recorders among themselves makes no difference.
            possible = serial_outcomes(scenario.model, [*threads[:2], uses])
            observe = scenario.observe(servers[0])
            assert observe == scenario.observe(servers[1])
            assert observe in [scenario.observe(model) for model in possible]
