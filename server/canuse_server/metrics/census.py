"""How many users and usage events the store has, counted now and then: each count is a few thousand short commands."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from canuse_server.api.environment import Environment
from canuse_server.store.errors import StoreError
from canuse_server.store.keys import BUCKETS

INTERVAL_SECONDS: Final = 60.0
BUCKETS_PER_READ: Final = 64


class Census:
    """Counts of one process, by environment. A count that failed keeps the values of the one before."""

    def __init__(self, environments: Iterable[Environment]) -> None:
        self._environments = tuple(environments)
        self.users: dict[str, int] = {}
        self.ledger_events: dict[str, int] = {}

    async def keep_counting(self) -> None:
        """Count at intervals until cancelled."""
        while True:
            for env in self._environments:
                with suppress(StoreError):
                    await self._count(env)
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _count(self, env: Environment) -> None:
        users = events = 0
        for start in range(0, BUCKETS, BUCKETS_PER_READ):
            buckets = range(start, start + BUCKETS_PER_READ)
            sizes, _ = await env.store.call(*(("SCARD", env.keys.users(bucket)) for bucket in buckets))
            lengths, _ = await env.store.call(*(("XLEN", env.keys.ledger(bucket)) for bucket in buckets))
            users += sum(size for size in sizes if isinstance(size, int))
            events += sum(length for length in lengths if isinstance(length, int))
        self.users[env.environment], self.ledger_events[env.environment] = users, events
