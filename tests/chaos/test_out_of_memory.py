"""The store has no memory left and refuses to write (`maxmemory` with `noeviction`), while calls are made.

Checks go on. What is refused is STORE_UNAVAILABLE and does not count, not even in part. Once there is memory again
calls count again.

Guard, a break of `make mutants`: `OOM` is known to be a refusal (`replies.py`), or callers are told of a defect.
"""

import asyncio
from dataclasses import asdict
from pathlib import Path

import pytest
from redis import Redis

from chaos.accounting import Losses, tally
from chaos.breakable_server import stage
from support.chaos import Rounds, Tell
from support.message_clients import Client

pytestmark = pytest.mark.chaos

SHORT, LONG = 2, 100
CALLS = 300
LEFT_BYTES = 20_000


async def test_a_store_without_memory_refuses_and_counts_nothing_of_what_it_refused(
    transport: str, tmp_path: Path, rounds: Rounds, tell: Tell
) -> None:
    found = Losses()
    async with stage(tmp_path, transport, "--maxmemory-policy", "noeviction") as (canuse, store):
        with Redis(port=store.port) as redis, Client(canuse.address) as client:
            for chance in rounds(SHORT, LONG):
                book = await tally(canuse.address, chance)
                async with book.load(canuse.address, CALLS):
                    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + LEFT_BYTES)
                    await book.refused(CALLS)
                    answer = await asyncio.to_thread(client.can_use, book.user_ids[0], book.features.plain)
                    assert answer.access
                    redis.config_set("maxmemory", 0)
                    await book.go_on(CALLS)
                await found.add(book, canuse.address)
    tell("out-of-memory", transport=transport, **asdict(found))
    assert found.unknown == 0
    assert found.nothing
