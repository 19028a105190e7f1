"""At a constant load the memory of server and store stays what it is, also if users never come back.

Users come bucket by bucket, one visit each: checks, uses with event ids, a repeated call, a call that fails, and a
lease that nobody settles. Nobody comes to these buckets again, so only trimming passes remove what is left behind.
"""

import asyncio
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from canuse import NotFound, v1
from canuse_server.store.keys import bucket_of
from support.load import MAX_WAIT_SECONDS, running
from support.memory import MIB, MemorySamples
from support.message_clients import AsyncClient, Client
from support.processes import Canuse
from support.resources import subscriber
from support.store_inspection import StoreInspector
from support.stores import store_of
from support.topologies import wait_for

VISITS_A_SECOND: Final = 50
CALLS_A_VISIT: Final = 10
TICK_SECONDS: Final = 0.1
SAMPLES: Final = 100
WARM_UP: Final = 1 / 3
"""Share of the time in which caches fill up."""
LEFT_BY_A_VISIT: Final = 5 * 71 + 300
"""About how many bytes of the store a visit takes until it is trimmed: five events and a lease."""
MAX_STORE_GROWTH: Final = 0.1
"""Share of what visits leave that may stay."""
MAX_SERVER_GROWTH_BYTES: Final = 8 * MIB
NOISE_BYTES: Final = 3 * MIB
"""What the store may grow by in any case: in a short run, what is kept is not small beside what passes through."""


def settings(seconds: float) -> dict[str, str]:
    """Return settings with which what is kept is a small part of what passes through in the time."""
    kept = str(max(1, min(10, round(seconds / 90))))
    return {
        "CANUSE_LEDGER_MAX_AGE_SECONDS": kept,
        "CANUSE_DEDUPE_TTL_SECONDS": kept,
        "CANUSE_TRIM_INTERVAL_SECONDS": "1",
        "CANUSE_TRIM_SHARE": "0.1",
    }


async def visit(client: AsyncClient, user_id: str, feature_id: str) -> None:
    """Make the calls of one visit."""
    for _ in range(2):
        await client.can_use(user_id, feature_id)
    for number in range(4):
        await client.use_feature(user_id, feature_id, event_id=f"use-{number}")
    assert (await client.use_feature(user_id, feature_id, event_id="use-3")).replayed
    await client.create_usage_event(user_id, feature_id, 2)
    assert (await client.reserve(user_id, feature_id, 3, ttl=timedelta(seconds=1))).granted
    with suppress(NotFound):
        await client.can_use(user_id + "?", feature_id)


def visitors(canuse: Canuse, inspector: StoreInspector, count: int) -> tuple[list[str], str]:
    """Create users who have been there before, so that a visit adds nothing that stays; return them and the feature.

    They are in the order of their buckets.
    """
    with Client(canuse.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
        first, feature_id = subscriber(client, None, v1.RESET_PERIOD_NEVER)

    async def visit_once() -> None:
        async with AsyncClient(canuse.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
            await visit(client, first, feature_id)

    asyncio.run(visit_once())
    wait_for(lambda: inspector.kinds_of_keys(first) == {"u"}, "the first visit is not trimmed")
    users = sorted((f"visitor-{number}" for number in range(count)), key=bucket_of)
    inspector.copy_user(first, users)
    return users, feature_id


async def load(address: str, users: Sequence[str], feature_id: str, samples: MemorySamples, seconds: float) -> int:
    """Let the users come at a constant rate, and take samples after the warm-up; return how many have come."""
    clock = asyncio.get_running_loop().time
    started_at, visits, group = clock(), 0, round(VISITS_A_SECOND * TICK_SECONDS)
    next_sample = started_at + WARM_UP * seconds
    async with AsyncClient(address, timeout_seconds=MAX_WAIT_SECONDS) as client:
        while clock() < started_at + seconds:
            tick_at = clock() + TICK_SECONDS
            coming = users[visits : visits + group]
            await asyncio.gather(*(visit(client, user_id, feature_id) for user_id in coming))
            visits += len(coming)
            if clock() >= next_sample:
                next_sample += (1 - WARM_UP) * seconds / SAMPLES
                await asyncio.to_thread(samples.take)
            # On a slow machine there are fewer visits: the load stays constant.
            await asyncio.sleep(tick_at - clock())
    samples.take()
    return visits


@pytest.mark.soak
def test_the_memory_of_server_and_store_stays_what_it_is_at_a_constant_load(
    soak_seconds: float, tmp_path: Path
) -> None:
    with running(Canuse(tmp_path, env=settings(soak_seconds))) as canuse, closing(store_of(canuse)) as redis:
        users, feature_id = visitors(canuse, StoreInspector(redis), round(VISITS_A_SECOND * soak_seconds))
        samples = MemorySamples(canuse, redis)
        visits = asyncio.run(load(canuse.address, users, feature_id, samples, soak_seconds))
        report = f"{visits * CALLS_A_VISIT} calls in {soak_seconds:.0f} s, after the first third: {samples.figures()}"
        print(f"memory: {report}", flush=True)
        assert "a trimming pass has ended" in canuse.log
        left = visits * (1 - WARM_UP) * LEFT_BY_A_VISIT
        assert samples.growth(samples.store) < NOISE_BYTES + MAX_STORE_GROWTH * left, report
        assert samples.growth(samples.server) < MAX_SERVER_GROWTH_BYTES, report
