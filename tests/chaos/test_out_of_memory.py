"""The store is out of memory and refuses writes (`maxmemory` with `noeviction`), under load.

Checks continue. A refused write is STORE_UNAVAILABLE and does not count, not even in part. Once there is memory again,
calls count again.

Guard, a break of `make mutants`: `OOM` is known to be a refusal (`replies.py`), or callers are told of a defect.
"""

import asyncio
from dataclasses import asdict
from pathlib import Path

import pytest
from redis import Redis

from chaos.accounting import AuditTotals, open_accounting
from chaos.breakable_server import breakable_server
from support.chaos import Report, Rounds
from support.message_clients import Client

pytestmark = pytest.mark.chaos

SHORT, LONG = 2, 100
CALLS = 300
LEFT_BYTES = 20_000


async def test_a_store_without_memory_refuses_and_counts_nothing_of_what_it_refused(
    transport: str, tmp_path: Path, rounds: Rounds, report: Report
) -> None:
    found = AuditTotals()
    async with breakable_server(tmp_path, transport, "--maxmemory-policy", "noeviction") as (canuse, store):
        with Redis(port=store.port) as redis, Client(canuse.address) as client:
            for rng in rounds(SHORT, LONG):
                accounting = await open_accounting(canuse.address, rng)
                async with accounting.load(canuse.address, CALLS):
                    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + LEFT_BYTES)
                    await accounting.wait_for_refused(CALLS)
                    answer = await asyncio.to_thread(
                        client.can_use, accounting.user_ids[0], accounting.features.without_ids
                    )
                    assert answer.access
                    redis.config_set("maxmemory", 0)
                    await accounting.wait_for_acknowledged(CALLS)
                await found.add(accounting, canuse.address)
    report("out-of-memory", transport=transport, **asdict(found))
    assert found.unknown == 0
    assert found.is_clean
