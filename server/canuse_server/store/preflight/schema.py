"""What canuse needs of a store: a server that is new enough, and data in a layout that it knows."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from canuse_server.store.errors import SchemaError, StoreError, StoreUnavailableError
from canuse_server.store.keys import SCHEMA
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.data_guard import GONE

VERSION: Final = "4"
OLDER: Final = ("3",)
"""Layouts that this version reads as well: what it writes makes them the present one."""
OLDEST_REDIS: Final = 7
OLDEST_VALKEY: Final = 8
CHECK_INTERVAL_SECONDS: Final = 0.5
"""How often it is looked whether the data is still there."""


async def check_version(store: Store) -> None:
    """Refuse a server that is too old.

    Raises:
        SchemaError: it is older than Redis 7 or Valkey 8.
    """
    for info in await store.infos():
        # Valkey says a redis_version, too, for clients that know Redis only.
        name, oldest = ("valkey", OLDEST_VALKEY) if "valkey_version" in info else ("redis", OLDEST_REDIS)
        version = info[f"{name}_version"]
        if int(version.partition(".")[0]) < oldest:
            needed = f"Redis {OLDEST_REDIS} or Valkey {OLDEST_VALKEY}"
            raise SchemaError(f"the store is {name} {version}; canuse needs {needed}")


async def check_schema(store: Store, *, create: bool = True) -> None:
    """Compare the version on a store with ours. `create`: put ours on one that is empty or has an older layout.

    Raises:
        SchemaError: the data has a layout that this canuse does not know.
        StoreUnavailableError: the store is empty, and is not to be made ready here.
    """
    if create:
        await store.create_schema(VERSION)
    found = await store.schema()
    if found is None:
        raise StoreUnavailableError("the store is empty, and another process has to make it ready")
    if problem := problem_with(found):
        raise SchemaError(problem)
    if create and found.decode() in OLDER:
        await store.call(("SET", SCHEMA, VERSION))


def problem_with(found: bytes | None) -> str:
    """Return what is wrong with the version that a store has (None: it has none); empty where nothing is."""
    if found is None:
        return GONE
    version = found.decode(errors="replace")
    if version in (VERSION, *OLDER):
        return ""
    return f"the store holds data of schema {version!r}; this canuse knows schema {VERSION!r} only"


async def keep_looking(store: Store, told: Callable[[bool], Awaitable[None]]) -> None:
    """Look again and again whether the data is still there; `told` is awaited when it is gone, and when it is back.

    Where `told` raises a StoreError it is told again.
    """
    was_there = True
    while True:
        store.guard.changed.clear()
        # A store that is unavailable says nothing about its data.
        with suppress(StoreError):
            await look(store)
            is_there = not store.guard.problem
            if is_there is not was_there:
                await told(is_there)
                was_there = is_there
        with suppress(TimeoutError):
            await asyncio.wait_for(store.guard.changed.wait(), CHECK_INTERVAL_SECONDS)


async def look(store: Store) -> None:
    """Look whether the data is there; raises StoreError where the store is unavailable."""
    store.guard.note(problem_with(await store.schema()))
