"""The indexes of users: what is in the store, also of users stored by an earlier version."""

from typing import cast

import pytest

from canuse_server.domain.model import Profile
from canuse_server.store.codec.documents import encode
from canuse_server.store.codec.user_index import FIELDS, entry_of
from canuse_server.store.codec.user_values import Meta
from canuse_server.store.errors import ConflictError
from canuse_server.store.keys import INDEX_PARTS, bucket_of
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.user_search import UserSearch
from canuse_server.store.repositories.users.change import UserChange
from canuse_server.store.repositories.users.users import Users
from canuse_server.store.scripts.loader import INDEX_USER
from support.database import KEYS, Database

META = Meta(disabled=False, revision=1, created_at_ms=0)
PROFILE = Profile(email="a@b.example", billing_id="cus_1")
START = (0, "")


def members(database: Database) -> set[bytes]:
    """Return all members of all indexes."""
    keys = [key for field in FIELDS for key in database.redis.scan_iter(match=f"*:by_{field}:*", count=10_000)]
    return {member for key in keys for member in cast("list[bytes]", database.redis.zrange(key, 0, -1))}


async def test_indexes_take_no_space_before_the_first_search_nor_of_users_without_a_value(
    users: Users, store: Store, database: Database
) -> None:
    await users.apply(UserChange("123", b"", META, PROFILE))
    assert members(database) == set()
    await users.apply(UserChange("124", b"", META, Profile(name="Zoë")))
    await users.apply(UserChange("125", b"", META))
    assert await UserSearch(store, KEYS).page("email", "a@b.example", START, 10) == ["123"]
    await users.apply(UserChange("126", b"", META, Profile(name="Zoë")))
    assert members(database) == {b"123"}


async def test_users_from_before_are_entered_before_the_first_search(
    users: Users, store: Store, database: Database
) -> None:
    for number in range(30):
        user_id = f"old-{number}"
        database.redis.hset(KEYS.user(user_id), "m", META.pack())
        database.redis.sadd(KEYS.users(bucket_of(user_id)), user_id)
        database.redis.set(KEYS.profile(user_id), encode(PROFILE if number % 2 else Profile(name="x")))
    database.redis.set(KEYS.profile("old-0"), b"unreadable")
    await users.apply(UserChange("new", b"", META, PROFILE))
    expected = {"new", *(f"old-{number}" for number in range(1, 30, 2))}
    for search in (UserSearch(store, KEYS), UserSearch(store, KEYS)):
        for field in FIELDS:
            assert set(await search.page(field, getattr(PROFILE, field), START, 100)) == expected
    assert database.redis.exists(KEYS.users_indexed)


async def test_a_profile_that_changes_meanwhile_is_not_entered_as_it_was(database: Database) -> None:
    entry = entry_of("email", "old@b.example")
    keys = [KEYS.profile("124"), KEYS.index("email", bucket_of("124"), entry.part)]
    database.redis.set(keys[0], b"new")
    assert database.run(INDEX_USER, keys, b"old", "124", str(entry.score)) == 0
    assert members(database) == set()
    assert database.run(INDEX_USER, keys, b"new", "124", str(entry.score)) == 1
    assert members(database) == {b"124"}


async def test_a_change_that_is_refused_or_an_erased_user_leaves_the_indexes_right(
    users: Users, store: Store, database: Database
) -> None:
    search = UserSearch(store, KEYS)
    assert await search.page("email", "a@b.example", START, 10) == []
    await users.apply(UserChange("124", b"", META, PROFILE))
    other = Profile(email="c@d.example", billing_id="cus_1")
    with pytest.raises(ConflictError):
        await users.apply(UserChange("124", b"stale", META, other, old_profile=PROFILE))
    assert await search.page("email", "a@b.example", START, 10) == ["124"]
    await users.apply(UserChange("124", META.pack(), META, other, old_profile=PROFILE))
    assert await search.page("email", "a@b.example", START, 10) == []
    assert await search.page("email", "c@d.example", START, 10) == ["124"]
    assert await search.page("billing_id", "cus_1", START, 10) == ["124"]
    await users.apply(UserChange("124", META.pack(), META, Profile(), old_profile=other))
    assert members(database) == set()
    await users.apply(UserChange("124", META.pack(), META, other))
    assert members(database) == {b"124"}
    await users.delete("124")
    assert members(database) == set()


def test_values_are_spread_over_the_parts_and_scores_are_short() -> None:
    entries = [entry_of("email", f"{number}@b.example") for number in range(1000)]
    assert {entry.part for entry in entries} == set(range(INDEX_PARTS))
    assert all(-(2**23) <= entry.score < 2**23 for entry in entries)
    assert len({entry.score for entry in entries}) > 990
