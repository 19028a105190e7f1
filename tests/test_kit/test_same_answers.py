"""A server and `FakeClient` answer random calls alike: uses, leases, grants and changes of packages, as time passes."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from canuse import CanuseError, v1
from canuse.testing import CanuseServer, Definitions, FakeClient

pytestmark = pytest.mark.extended
START: Final = datetime(2031, 1, 31, 12, tzinfo=UTC)
RUNS: Final = 40
STEPS: Final = 40
COUNTS: Final = ("used", "budget", "remaining", "reserved", "overage_enabled", "period_start", "resets_at")
FIELDS: Final = ("access", "recorded", "granted", "extended", "reason", "applied_delta", "replayed", "late")
HOURS: Final = (1, 5, 24, 7 * 24, 31 * 24)
PAST_DUE: Final = v1.SUBSCRIPTION_STATUS_PAST_DUE
ACTIVE: Final = v1.SUBSCRIPTION_STATUS_ACTIVE


class Side:
    """A server or a fake, with what the calls so far have made there."""

    def __init__(self, kit: Definitions) -> None:
        self.kit = kit
        self.leases: list[str] = []
        kit.reset(START)
        kit.package("free", {"a": "10/month", "b": "3/day"})
        kit.package("pro", {"a": "20/month", "b": "unlimited", "s": True})
        overage = v1.PackageFeature(limit=15, reset_period=v1.RESET_PERIOD_WEEK, overage_enabled=True)
        kit.package("more", {"a": overage}, add_on=True)
        kit.user("u", "free")

    def subscription(self, package_id: str) -> v1.Subscription | None:
        """Return the latest subscription to a package."""
        found = [each for each in self.kit.client.list_subscriptions("u") if each.package_id == package_id]
        return max(found, key=lambda each: each.started_at.ToNanoseconds(), default=None)


def shown(answer: Any) -> object:
    """Return what two answers are compared by: without ids that a server chooses, and without `retry_after`."""
    found: list[object] = [getattr(answer, name) for name in FIELDS if hasattr(answer, name)]
    counts = getattr(answer, "consumption", None)
    return [*found, counts and [getattr(counts, name) for name in COUNTS]]


def change(side: Side, chance: random.Random) -> object:
    """Make a random change or call; `chance` is the same for both sides."""
    client, feature, amount = side.kit.client, chance.choice("aab"), chance.randint(1, 8)
    name, number, key = chance.choice(sorted(CALLS)), chance.randint(0, 3), f"e{chance.getrandbits(60)}"
    package_id = ("free", "pro", "more", "pro")[number]
    try:
        return CALLS[name](side, client, feature, amount, number, package_id, key)
    except CanuseError as error:
        return type(error), error.reason
    except ValueError as error:
        return str(error)


def grant(side: Side, client: Any, feature: str, amount: int, number: int, _package: str, _key: str) -> object:
    """Give an amount, which sometimes expires."""
    expires_at = side.kit.now + timedelta(hours=HOURS[number + 1]) if number % 2 else None
    return client.create_grant("u", f"g{number}", feature, amount=amount, priority=number, expires_at=expires_at).id


def reserve(side: Side, client: Any, feature: str, amount: int, _number: int, _package: str, key: str) -> object:
    """Reserve for two hours."""
    answer = client.reserve("u", feature, amount, ttl=timedelta(hours=2), event_id=key)
    side.leases += [answer.lease_id] if answer else []
    return shown(answer)


def settle(side: Side, client: Any, _feature: str, amount: int, number: int, _package: str, _key: str) -> object:
    """Settle or extend a lease."""
    if not side.leases:
        return None
    lease_id = side.leases[number % len(side.leases)]
    if amount % 2:
        return shown(client.settle(lease_id, amount, final=bool(number)))
    return shown(client.extend_lease(lease_id, amount=amount, ttl=timedelta(hours=3)))


def subscriptions(side: Side, client: Any, _feature: str, amount: int, number: int, package: str, key: str) -> object:
    """Change packages and subscriptions."""
    found = side.subscription(package)
    if amount == 1:
        return client.change_package("u", ("free", "pro")[number % 2], at_period_end=number > 1, event_id=key).changed
    if amount == 2 and side.subscription("more") is None:
        return [each.status for each in client.subscribe("u", ["more"])]
    if found is None:
        return None
    if amount == 3:
        return client.cancel_subscription(found.id, at_period_end=bool(number % 2)).cancel_at
    if amount == 4:
        return client.update_subscription(found.id, status=ACTIVE if found.status == PAST_DUE else PAST_DUE).status
    return [client.ensure_user("u", package_id=package).subscribed]


def usage(_side: Side, client: Any, feature: str, *_: object) -> object:
    """Return past periods and what grants have left."""
    shown_usage = client.show_usage("u", feature)
    past = [
        (each.used, each.budget, each.drawn_from_grants, each.overage, each.period_end) for each in shown_usage.past
    ]
    return past, [(each.grant_id, each.amount, each.left) for each in shown_usage.sources if each.grant_id]


CALLS: Final[dict[str, Callable[..., object]]] = {
    "use": lambda _s, c, f, a, _n, _p, key: shown(c.use_feature("u", f, a, event_id=key)),
    "use 2": lambda _s, c, f, a, _n, _p, key: shown(c.use_feature("u", f, a, event_id=key)),
    "event": lambda _s, c, f, a, n, _p, key: shown(c.create_usage_event("u", f, a if n else -a, event_id=key)),
    "set": lambda _s, c, f, a, *_: shown(c.create_usage_event("u", f, a * 3, action=v1.USAGE_ACTION_SET)),
    "uses": lambda _s, c, _f, a, n, *_: shown(c.use_features("u", {"a": a, "b": n + 1})),
    "check": lambda _s, c, f, a, *_: shown(c.can_use("u", f, a)),
    "grant": grant,
    "revoke": lambda _s, c, _f, _a, n, *_: c.revoke_grant("u", f"g{n}").id,
    "reserve": reserve,
    "settle": settle,
    "subscriptions": subscriptions,
    "entitlements": lambda _s, c, *_: [(each.feature_id, shown(each)) for each in c.list_entitlements("u")],
    "usage": usage,
    "advance": lambda side, _c, _f, _a, n, *_: side.kit.advance(hours=HOURS[n]),
    "jump": lambda side, _c, f, *_: side.kit.jump_to_reset("u", f),
}


@pytest.fixture(scope="module")
def server() -> Iterator[CanuseServer]:
    """A real server."""
    with CanuseServer() as server:
        yield server


def test_random_calls_are_answered_alike(server: CanuseServer) -> None:
    fake = FakeClient()
    for seed in range(RUNS):
        sides = Side(server), Side(fake)
        for step in range(STEPS):
            of_server, of_fake = (change(side, random.Random(f"{seed} {step}")) for side in sides)
            assert of_fake == of_server, f"seed {seed}, step {step}"
