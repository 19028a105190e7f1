"""Checks of the store's version and of the schema version of its data."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from canuse_server.store.codec.event_ids import KEY_BYTES
from canuse_server.store.errors import SchemaError, StoreError, StoreUnavailableError
from canuse_server.store.keys import EVENT_KEY, SCHEMA
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.data_guard import GONE

VERSION: Final = "5"
OLDER: Final = ("3", "4")
"""Schemas that this version reads as well; its writes convert the data."""
RESTORING: Final = "restoring"
"""The version while a backup is being restored: no server starts, and those that run do not use the store."""
OLDEST_REDIS: Final = 7
OLDEST_VALKEY: Final = 8
CHECK_INTERVAL_SECONDS: Final = 0.5
"""Interval between checks that the data is still there."""


async def check_version(store: Store) -> None:
    """Check the version of the server.

    Raises:
        SchemaError: the server is older than Redis 7 or Valkey 8.
    """
    for info in await store.infos():
        # Valkey also reports a redis_version, for clients that only know Redis.
        name, oldest = ("valkey", OLDEST_VALKEY) if "valkey_version" in info else ("redis", OLDEST_REDIS)
        version = info[f"{name}_version"]
        if int(version.partition(".")[0]) < oldest:
            needed = f"Redis {OLDEST_REDIS} or Valkey {OLDEST_VALKEY}"
            raise SchemaError(f"the store is {name} {version}; canuse needs {needed}")


async def check_schema(store: Store, *, create: bool = True) -> None:
    """Check the schema version of the data. If `create`, set it on a store that is empty or has an older schema.

    Raises:
        SchemaError: this version of canuse does not know the schema.
        StoreUnavailableError: the store is empty and `create` is false.
    """
    found = await store.schema()
    if create and (found is None or not problem_with(found)):
        # Before the schema: a store that has a schema has the key as well, also a replica that is promoted.
        await store.create(EVENT_KEY, secrets.token_bytes(KEY_BYTES))
        await store.create_schema(VERSION)
        found = await store.schema()
    if found is None:
        raise StoreUnavailableError("the store is empty; another process must initialize it")
    if problem := problem_with(found):
        raise SchemaError(problem)
    if create and found.decode() in OLDER:
        await store.call(("SET", SCHEMA, VERSION))
    await read_event_key(store)


async def read_event_key(store: Store) -> None:
    """Read the store's key for the digests of event ids.

    Raises:
        StoreUnavailableError: the store has none.
    """
    key = await store.unguarded(EVENT_KEY)
    if key is None:
        raise StoreUnavailableError("the store has no key for event ids; another process must initialize it")
    store.event_key.key = key


def problem_with(found: bytes | None) -> str:
    """Return the problem with the schema version of a store (None: the store is empty); empty if there is none."""
    if found is None:
        return GONE
    version = found.decode(errors="replace")
    if version in (VERSION, *OLDER):
        return ""
    if version == RESTORING:
        return (
            "a backup is being restored into the store. If that has ended before its end, the store has a part of it: "
            "repeat it with canuse restore --replace"
        )
    return f"the store has data of schema {version!r}; this version of canuse supports only schema {VERSION!r}"


async def watch_data(store: Store, on_change: Callable[[bool], Awaitable[None]]) -> None:
    """Check at intervals that the data is still there; await `on_change` when it is gone and when it is back.

    If `on_change` raises a StoreError, it is called again.
    """
    was_there = True
    while True:
        store.guard.changed.clear()
        # While the store is unavailable, the state of its data is unknown.
        with suppress(StoreError):
            await check_data(store)
            is_there = not store.guard.problem
            if is_there is not was_there:
                await on_change(is_there)
                was_there = is_there
        with suppress(TimeoutError):
            await asyncio.wait_for(store.guard.changed.wait(), CHECK_INTERVAL_SECONDS)


async def check_data(store: Store) -> None:
    """Check that the data is there; raise StoreError if the store is unavailable."""
    problem = problem_with(await store.schema())
    if store.guard.problem and not problem:
        # The data may be an older copy, or that of another store.
        await read_event_key(store)
    store.guard.note(problem)
