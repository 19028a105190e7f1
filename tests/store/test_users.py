"""Stored users: everything that a decision needs is in one small hash, changed in one step."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest

from canuse_server.domain.carry_over import CarryOver
from canuse_server.domain.decision import Counter
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import MAX_AMOUNT, Grant, Profile, ResetPeriod, Subscription, SubscriptionStatus
from canuse_server.domain.past_periods import PastPeriod
from canuse_server.domain.periods import Period
from canuse_server.store.codec.user_values import Meta
from canuse_server.store.errors import ConflictError
from canuse_server.store.repositories.users.change import PlacedGrant, UserChange
from canuse_server.store.repositories.users.users import Users
from support.database import KEYS, Database
from support.strategies import ms

NOW: Final = ms(datetime(2026, 3, 5, 12, tzinfo=UTC))
DAY: Final = 86_400_000
MONTHLY: Final = Entitlement(
    consumable=True,
    active=True,
    limit=MAX_AMOUNT,
    overage_enabled=True,
    reset_period=ResetPeriod.MONTH,
    period=Period(NOW, NOW + 31 * DAY),
    valid_until_ms=NOW + 31 * DAY,
)
SUBSCRIPTION: Final = Subscription("0badcafe", "pro", 1, SubscriptionStatus.ACTIVE, NOW, NOW + DAY, NOW + DAY)
FEATURES: Final = ("api-calls", "messages", "exports")
META: Final = Meta(disabled=False, revision=1, created_at_ms=NOW)


async def test_a_user_is_read_as_they_were_written(users: Users) -> None:
    assert await users.read("124") is None
    meta = Meta(disabled=True, revision=7, created_at_ms=NOW)
    entitlements = {"a:b": MONTHLY, "{é}": replace(MONTHLY, limit=None)}
    older = replace(SUBSCRIPTION, token="1", started_at_ms=NOW - 1, trial_end_ms=None)
    change = UserChange("124", b"", meta, Profile(name="Zoë"), (SUBSCRIPTION, older), entitlements=entitlements)
    await users.apply(change)
    state = await users.read("124")
    assert state is not None
    assert (state.meta, state.raw_meta, state.entitlements) == (meta, meta.pack(), entitlements)
    assert state.subscriptions == (older, SUBSCRIPTION)
    assert state.counters == {}
    assert await users.describe(["124", "nobody"]) == [(meta, Profile(name="Zoë")), None]


async def test_grants_are_read_as_they_were_given_and_drawn_from_in_their_order(
    users: Users, database: Database
) -> None:
    daily = replace(MONTHLY, limit=2, reset_period=ResetPeriod.DAY, period=Period(NOW, NOW + DAY), valid_until_ms=None)
    later = Grant("later", "calls", 5, NOW, NOW, expires_at_ms=NOW + 9 * DAY, note="by mistake")
    first = Grant("first", "calls", 3, NOW - DAY, NOW, expires_at_ms=NOW + DAY)
    other = Grant("other", "sso", None, NOW, NOW, priority=5)
    for grant, order in ((later, (later,)), (other, (other,)), (first, (first, later))):
        state = await users.read("124")
        change = UserChange(
            "124",
            b"" if state is None else state.raw_meta,
            META if state is None else META._replace(revision=state.meta.revision + 1),
            entitlements={"calls": daily},
            grants=(grant,),
            grant_orders={grant.feature_id: [PlacedGrant(int(item is not grant), item) for item in order]},
        )
        await users.apply(change)
    assert await users.grants("124") == [first, later, other]
    database.record(NOW, delta=6)
    read = await users.read("124")
    assert read is not None
    assert read.grants == {
        "calls": (GrantBalance(NOW - DAY, NOW + DAY, 0, 3), GrantBalance(NOW, NOW + 9 * DAY, 4, 1)),
        "sso": (GrantBalance(NOW, None, None, 0),),
    }
    assert (await users.delete("124"))[0]
    assert await users.grants("124") == []
    assert database.redis.keys("*:124") == []


async def test_two_changes_of_one_reading_never_both_happen(users: Users) -> None:
    await users.apply(UserChange("124", b"", META))
    first = UserChange("124", META.pack(), META._replace(revision=2), subscriptions=(SUBSCRIPTION,))
    second = replace(first, subscriptions=(replace(SUBSCRIPTION, token="2"),))
    await users.apply(first)
    with pytest.raises(ConflictError):
        await users.apply(second)
    with pytest.raises(ConflictError):
        await users.apply(replace(second, raw_meta=b""))
    state = await users.read("124")
    assert state is not None
    assert state.subscriptions == (SUBSCRIPTION,)


async def test_an_empty_profile_takes_no_key(users: Users, database: Database) -> None:
    await users.apply(UserChange("124", b"", META, Profile()))
    assert not database.redis.exists(KEYS.profile("124"))
    await users.apply(UserChange("124", META.pack(), META, Profile(email="a@b.example")))
    assert database.redis.exists(KEYS.profile("124"))
    await users.apply(UserChange("124", META.pack(), META, Profile()))
    assert not database.redis.exists(KEYS.profile("124"))


async def test_counts_are_settled_in_the_step_that_changes_the_entitlements(users: Users, database: Database) -> None:
    await users.apply(UserChange("124", b"", META, entitlements=dict.fromkeys(("calls", "gone"), MONTHLY)))
    database.record(NOW, feature_id="calls", delta=3)
    database.record(NOW, feature_id="gone", delta=4)
    other = replace(MONTHLY, period=Period(NOW - DAY, NOW + 30 * DAY))
    change = UserChange(
        "124",
        META.pack(),
        META._replace(revision=2),
        entitlements={"calls": other},
        removed_entitlements=["gone"],
        counters={"calls": Counter(3, NOW), "gone": Counter(4, NOW)},
        carry_overs=[
            CarryOver("calls", NOW, 31 * DAY, MAX_AMOUNT, NOW - DAY),
            CarryOver("gone", NOW, 31 * DAY, None, None),
        ],
    )
    await users.apply(change)
    state = await users.read("124")
    assert state is not None
    assert state.entitlements == {"calls": other}
    assert {key: (count.used, count.period_start_ms) for key, count in state.counters.items()} == {
        "calls": (3, NOW - DAY)
    }
    past = {"gone": [PastPeriod(Period(NOW, NOW + 31 * DAY), 4, None, 0)]}
    for feature_id, expected in (("", past), ("gone", past), ("calls", {})):
        found, missing = await users.usage(["124", "125"], feature_id)
        assert found is not None
        assert missing is None
        assert found == (replace(state, now_ms=found[0].now_ms), expected)


async def test_a_use_that_starts_a_new_period_between_reading_a_user_and_changing_them_is_a_conflict(
    users: Users, database: Database
) -> None:
    daily = replace(MONTHLY, reset_period=ResetPeriod.DAY, period=Period(NOW, NOW + DAY), valid_until_ms=None)
    await users.apply(UserChange("124", b"", META, entitlements={"calls": daily}))
    database.record(NOW, feature_id="calls", delta=3)
    read = await users.read("124")
    assert read is not None
    database.record(NOW + DAY, feature_id="calls", delta=4)
    change = UserChange(
        "124",
        read.raw_meta,
        META._replace(revision=2),
        entitlements={"calls": replace(daily, limit=5)},
        counters=read.counters,
        carry_overs=[CarryOver("calls", NOW, DAY, MAX_AMOUNT, NOW)],
    )
    with pytest.raises(ConflictError):
        await users.apply(change)
    assert database.counter() == (4, NOW + DAY)


async def test_a_user_with_three_features_stays_small(users: Users, database: Database) -> None:
    await users.apply(
        UserChange("124", b"", META, subscriptions=(SUBSCRIPTION,), entitlements=dict.fromkeys(FEATURES, MONTHLY))
    )
    for feature_id in FEATURES:
        database.record(NOW, feature_id=feature_id, delta=1000)
    key = KEYS.user("124")
    values = database.redis.hvals(key)
    assert len(values) == 5
    assert max(map(len, values)) < 64
    assert database.call("OBJECT", "ENCODING", key) == b"listpack"
    size = int(database.call("MEMORY", "USAGE", key))
    # Valkey 9.1 takes 288 bytes, Redis 7.0 takes 328: steps of their allocators, for 198 bytes of names and values.
    assert size <= 330, f"{size} bytes: {dict(database.redis.hgetall(key))}"


async def test_users_are_listed_once_each_page_by_page(users: Users) -> None:
    ids = [f"user-{number}" for number in range(300)]
    for user_id in ids:
        await users.apply(UserChange(user_id, b"", META))
    found: list[str] = []
    after = (0, "")
    while page := await users.page(after, 7):
        assert len(page) <= 7
        found += page
        after = (_bucket(page[-1]), page[-1])
    assert len(found) == len(set(found))
    assert sorted(found) == sorted(ids)


def _bucket(user_id: str) -> int:
    return int(KEYS.user(user_id).partition("{b")[2][:4])


async def test_whoever_is_erased_is_gone_from_the_list(users: Users) -> None:
    await users.apply(UserChange("124", b"", META))
    assert await users.delete("124") == (True, None)
    assert await users.delete("124") == (False, None)
    assert await users.read("124") is None
    assert await users.page((0, ""), 10) == []
    await users.apply(UserChange("124", b"", META))


async def test_a_first_use_recorded_while_the_entitlement_changes_is_not_left_behind(
    users: Users, database: Database
) -> None:
    """The count recorded in between belonged to no known period; it was lost, and the budget granted twice."""
    await users.apply(UserChange("124", b"", META, entitlements={"calls": MONTHLY}))
    state = await users.read("124")
    assert state is not None
    database.record(NOW, feature_id="calls", delta=3)
    later = replace(MONTHLY, period=Period(NOW + DAY, NOW + 31 * DAY))
    change = UserChange("124", META.pack(), META._replace(revision=2), entitlements={"calls": later})
    with pytest.raises(ConflictError):
        await users.apply(replace(change, counters=state.counters))
    again = await users.read("124")
    assert again is not None
    await users.apply(replace(change, counters=again.counters))
