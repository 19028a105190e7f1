"""Ended subscriptions are stored apart from what changes read, and return if the clock shows they have not ended."""

from datetime import UTC, datetime
from typing import Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canuse import v1
from canuse_server.api.context import CallContext
from canuse_server.api.environment import Environment
from canuse_server.api.services.subscription_service.servicer import SubscriptionServicer
from canuse_server.api.users.changes import Edit, change_user, create_user
from canuse_server.domain.entitlements import resolve, without_effect
from canuse_server.domain.model import (
    Feature,
    FeatureType,
    Package,
    PackageFeature,
    PackageStatus,
    PackageType,
    Profile,
    ResetPeriod,
    Subscription,
    SubscriptionStatus,
)
from canuse_server.domain.subscriptions import has_ended
from canuse_server.store.codec.user_values import Meta
from canuse_server.store.repositories.users.change import UserChange
from canuse_server.store.repositories.users.state import UserState
from support.database import KEYS, Database
from support.strategies import ms

NOW: Final = ms(datetime(2026, 3, 5, 12, tzinfo=UTC))
DAY: Final = 86_400_000
ACTIVE: Final = SubscriptionStatus.ACTIVE


async def published(env: Environment, package_id: str = "extra", limit: int = 5) -> None:
    """Create and publish a package with one feature, on the manual clock."""
    env.store.manual_now_ms = NOW
    entry = PackageFeature("calls", limit, ResetPeriod.MONTH)
    package = Package(
        package_id, 1, type=PackageType.ADD_ON, features=(entry,), status=PackageStatus.PUBLISHED, published_version=1
    )
    await env.catalog.put_feature(None, Feature("calls", FeatureType.CONSUMABLE, 1))
    await env.catalog.put_package(None, package)


def kept(database: Database) -> tuple[int, int]:
    """Return how many subscriptions are in the user's hash, and how many apart."""
    own = [name for name in cast("list[bytes]", database.redis.hkeys(KEYS.user("124"))) if name.startswith(b"s:")]
    return len(own), database.redis.hlen(KEYS.ended("124"))


async def test_what_was_written_before_is_read_and_moved_by_the_next_change(
    env: Environment, database: Database
) -> None:
    await published(env)
    old = [Subscription(f"{n:08x}", "extra", 1, ACTIVE, NOW - n, cancel_at_ms=NOW) for n in range(1, 400)]
    await env.users.apply(UserChange("124", b"", Meta(False, 1, NOW), subscriptions=tuple(old)))
    assert kept(database) == (399, 0)
    await change(env)
    assert kept(database) == (1, 398)
    found = await env.users.all_subscriptions("124")
    assert found is not None
    assert found[0] == sorted(old, key=lambda held: held.started_at_ms)
    for held in old[::50]:
        state = await env.users.read("124")
        assert state is not None
        assert held in state.subscriptions or await env.users.ended_subscription("124", held.token) == held


async def test_what_ended_by_a_clock_that_ran_ahead_goes_on_when_it_is_right_again(
    env: Environment, database: Database
) -> None:
    """Stored apart, they would have shown as ACTIVE and given no access."""
    await published(env)
    await create_user(env, "124", Profile(), disabled=False)
    held = [
        Subscription("1", "extra", 1, ACTIVE, NOW, cancel_at_ms=NOW + 30 * DAY),
        Subscription("2", "extra", 1, SubscriptionStatus.TRIALING, NOW + 1, trial_end_ms=NOW + 40 * DAY),
        Subscription("3", "extra", 1, ACTIVE, NOW + 2, cancel_at_ms=NOW + 1 * DAY),
    ]
    state = await env.users.read("124")
    assert state is not None
    await env.users.apply(UserChange("124", state.raw_meta, state.meta, subscriptions=tuple(held)))
    env.store.manual_now_ms = NOW + 400 * DAY
    await change(env)
    assert kept(database) == (1, 2)
    env.store.manual_now_ms = NOW + 2 * DAY
    await change(env)
    state = await env.users.read("124")
    assert state is not None
    assert [item.token for item in state.subscriptions if not has_ended(item, state.now_ms)] == ["1", "2"]
    assert state.entitlements["calls"].active
    assert [[item.token for item in items] for items in (await env.users.subscriptions(["124"]))[0]] == [["1", "2"]]
    # One that is changed in the meantime is not overwritten by its stored copy.
    cancel = v1.CancelSubscriptionRequest(subscription_id=(await listed(env))[1].id)
    await SubscriptionServicer().cancel_subscription(cancel, CallContext(env))
    assert [item.status for item in await listed(env)] == [1, 3, 3]
    env.store.manual_now_ms = NOW + 50 * DAY
    await change(env)
    assert [item.status for item in await listed(env)] == [3, 3, 3]
    state = await env.users.read("124")
    assert state is not None
    assert not state.entitlements["calls"].active


async def change(env: Environment) -> None:
    """Make a change without effect, which renews the user."""

    async def nothing(_: UserState) -> tuple[Edit, None]:
        return Edit(), None

    await change_user(env, "124", nothing)


async def listed(env: Environment) -> list[v1.Subscription]:
    request = v1.ListSubscriptionsRequest(user_id="124", page_size=1000)
    return list((await SubscriptionServicer().list_subscriptions(request, CallContext(env))).subscriptions)


@pytest.mark.parametrize("count", [3, 900])
async def test_a_change_reads_no_more_for_what_has_ended(env: Environment, database: Database, count: int) -> None:
    await published(env)
    await create_user(env, "124", Profile(), disabled=False)
    subscribe = v1.SubscribeRequest(user_id="124", package_ids=["extra"], status=7)  # type: ignore[arg-type]
    servicer = SubscriptionServicer()
    for _ in range(3):
        await servicer.subscribe(subscribe, CallContext(env))
    fields, size = database.redis.hlen(KEYS.user("124")), database.redis.memory_usage(KEYS.user("124")) or 0
    for _ in range(count):
        await servicer.subscribe(subscribe, CallContext(env))
    assert database.redis.hlen(KEYS.user("124")) == fields
    assert (database.redis.memory_usage(KEYS.user("124")) or 0) <= size
    assert database.redis.hlen(KEYS.ended("124")) == count + 2


FEATURES: Final = ("a", "b", "c")
PERIODS: Final = (ResetPeriod.DAY, ResetPeriod.MONTH, ResetPeriod.NEVER)
packages = st.lists(
    st.lists(
        st.builds(
            PackageFeature,
            st.sampled_from(FEATURES),
            st.none() | st.integers(1, 3),
            st.sampled_from(PERIODS),
            st.booleans(),
        ),
        max_size=3,
        unique_by=lambda entry: entry.feature_id,
    ),
    min_size=1,
    max_size=4,
)
dates = st.integers(-3, 5).map(lambda number: NOW + number * DAY)


@given(packages, st.data())
@settings(max_examples=300, deadline=None)
def test_entitlements_are_the_same_without_what_has_no_effect(
    entries: list[list[PackageFeature]], data: st.DataObject
) -> None:
    """Now and at any later moment, whatever happens to the others."""
    known = {(f"p{n}", 1): Package(f"p{n}", 1, features=tuple(each)) for n, each in enumerate(entries)}
    held = data.draw(
        st.lists(
            st.builds(
                Subscription,
                st.uuids().map(str),
                st.sampled_from([package_id for package_id, _ in known]),
                st.just(1),
                st.sampled_from(SubscriptionStatus),
                dates,
                st.none() | dates,
                st.none() | dates,
            ),
            max_size=8,
            unique_by=lambda item: item.token,
        )
    )
    apart = without_effect(held, known, NOW)
    assert all(has_ended(item, NOW) for item in apart)
    kept_items = [item for item in held if item not in apart]
    types = dict.fromkeys(FEATURES, FeatureType.CONSUMABLE)
    for moment in range(8):
        now_ms = NOW + moment * DAY
        one, other = (resolve(items, known, types, {}, now_ms) for items in (held, kept_items))
        # When a subscription would have started that ended before its start, nothing changes. Until when they are valid
        # can differ by that, and with it whether what applies then is known.
        for entitlements in (one, other):
            for entitlement in entitlements.values():
                entitlement.valid_until_ms, entitlement.predictable = None, False
        assert one == other
