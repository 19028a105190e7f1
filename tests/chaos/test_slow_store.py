"""The store stalls, or pauses clients, for less and for more than a call waits for it.

No answer is wrong, what is acknowledged counts, what is reported as not written does not, and calls succeed again as
soon as the store does. A call that was given up may still be executed once the store continues: that is what
OUTCOME_UNKNOWN says.

Guard, a break of `make mutants`: a write that timed out had been sent, so that its outcome is unknown (`connection.py`,
where the event loop makes calls).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from chaos.accounting import AuditTotals, open_accounting
from chaos.breakable_server import breakable_server
from support.chaos import Report, Rounds
from support.processes import RedisServer

pytestmark = pytest.mark.chaos

SHORT, LONG = 1, 25
CALLS = 200
TIMEOUT_SECONDS = 0.4
SHORTLY, LONGER = 0.2, 1.0


async def sleep(store: RedisServer, seconds: float) -> None:
    """Stall the store; what is sent to it waits."""
    await asyncio.to_thread(store.command, "DEBUG", "SLEEP", str(seconds))


async def pause(store: RedisServer, seconds: float) -> None:
    """Pause every client."""
    await asyncio.to_thread(store.command, "CLIENT", "PAUSE", str(int(seconds * 1000)), "ALL")
    await asyncio.sleep(seconds)


async def pause_writes(store: RedisServer, seconds: float) -> None:
    """Pause the clients that write."""
    await asyncio.to_thread(store.command, "CLIENT", "PAUSE", str(int(seconds * 1000)), "WRITE")
    await asyncio.sleep(seconds)


@pytest.mark.parametrize("slow", [sleep, pause, pause_writes])
async def test_a_stalled_store_makes_no_count_wrong(
    slow: Callable[[RedisServer, float], Awaitable[None]],
    transport: str,
    tmp_path: Path,
    rounds: Rounds,
    report: Report,
) -> None:
    found = AuditTotals()
    settings = ("--enable-debug-command", "yes")
    async with breakable_server(tmp_path, transport, *settings, timeout_seconds=TIMEOUT_SECONDS) as (canuse, store):
        for rng in rounds(SHORT, LONG):
            accounting = await open_accounting(canuse.address, rng)
            async with accounting.load(canuse.address, CALLS):
                for seconds in (SHORTLY, LONGER):
                    await slow(store, seconds)
                    await accounting.wait_for_acknowledged(CALLS)
            await found.add(accounting, canuse.address)
    report("slow-store", transport=transport, how=slow.__name__, **asdict(found))
    assert found.unknown
    assert found.is_clean
