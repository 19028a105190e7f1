"""A server on its own store, which a script can break."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.processes import Canuse, RedisServer
from support.tools import VALKEY_SERVER


@asynccontextmanager
async def breakable_server(
    folder: Path,
    transport: str,
    *settings: str,
    store: RedisServer | None = None,
    timeout_seconds: float = 1,
    durability: str = "memory",
) -> AsyncIterator[tuple[Canuse, RedisServer]]:
    """Run a server on a Valkey with some settings, or on another store. No call may fail for an unknown reason."""
    store = store or RedisServer(VALKEY_SERVER, folder / "store", settings)
    env = {"CANUSE_STORE_TIMEOUT_SECONDS": str(timeout_seconds), "CANUSE_DURABILITY": durability}
    canuse = Canuse(folder, "--transport", transport, "--redis-url", store.url, env=env)
    await asyncio.to_thread(store.start)
    try:
        await asyncio.to_thread(canuse.start)
        try:
            yield canuse, store
        finally:
            await asyncio.to_thread(canuse.stop)
    finally:
        await asyncio.to_thread(store.stop)
    assert not canuse.failed_unexpectedly()
