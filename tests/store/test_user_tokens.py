"""The keys that sign user tokens, on a real store."""

import asyncio

import pytest

from canuse_server.domain.user_tokens import ROTATION_INTERVAL_MS, SigningKey, current_key
from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.keys import SIGNING_KEYS
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.data_guard import DataGuard
from canuse_server.store.repositories.user_tokens import SigningKeys
from support.database import Database


async def rotated(store: Store) -> list[SigningKey]:
    """Return the keys after a rotation, if it is due."""
    keys = SigningKeys(store)
    await keys.rotate(await keys.read())
    return (await keys.read()).keys


async def test_of_servers_that_need_a_signing_key_at_the_same_time_one_creates_it(store: Store) -> None:
    read = await asyncio.gather(*(rotated(store) for _ in range(5)))
    [key] = read[0]
    assert all(keys == [key] for keys in read)
    assert len(key.secret) == 32
    assert await rotated(store) == [key]


async def test_keys_rotate_by_the_clock_of_the_store_and_old_ones_are_removed(store: Store) -> None:
    store.manual_now_ms = now_ms = 1_800_000_000_000
    numbers = []
    for _ in range(5):
        keys = await rotated(store)
        numbers.append(({key.number for key in keys}, current_key(keys, now_ms).number))
        store.manual_now_ms = now_ms = now_ms + ROTATION_INTERVAL_MS + 60_000
    assert numbers == [({1}, 1), ({1, 2}, 1), ({1, 2, 3}, 2), ({2, 3, 4}, 3), ({3, 4, 5}, 4)]


async def test_a_key_that_cannot_be_read_is_left_alone_and_another_one_signs(store: Store, database: Database) -> None:
    unreadable = {b"1": b"{}", b"2": b"\xff", b"x": b"{}"}
    database.redis.hset(SIGNING_KEYS, mapping=unreadable)  # type: ignore[arg-type]
    [key] = await rotated(store)
    assert key.number == 3
    assert unreadable.items() < database.redis.hgetall(SIGNING_KEYS).items()


async def test_a_store_that_lost_its_data_gets_no_new_key(
    store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "guard", DataGuard())
    store.guard.is_on = True
    with pytest.raises(StoreUnavailableError):
        await rotated(store)
    assert database.redis.hlen(SIGNING_KEYS) == 0
