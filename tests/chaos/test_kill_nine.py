"""The store is killed repeatedly under load, and restarts on the same data.

With `appendfsync always` nothing may be lost, and in any case no event with an id counts twice, however often it is
repeated. With `everysec` a killed process usually loses nothing: what it has handed to the operating system stays
(`test_power_cut.py` takes that away). But while the disk is slow, Valkey holds writes back for up to two seconds; that
is measured. Without an append-only file everything is lost.

Guards, each of them a break of `make mutants`: an event id is kept with its answer (`HSETNX` in `record_usage.lua`), or
repeated events count twice; and what was sent and not answered is OUTCOME_UNKNOWN (in `lane.py` and in
`connection.py`), or something is counted although its caller was told that nothing was written.
"""

import asyncio
import random
import signal
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from canuse import StoreUnavailable
from chaos.accounting import AuditTotals, open_accounting
from chaos.breakable_server import breakable_server
from support.chaos import SEED, Report, Rounds
from support.message_clients import Client
from support.processes import RedisServer

pytestmark = pytest.mark.chaos

SHORT, LONG = 3, 100
CALLS = 300
"""Minimum number of calls acknowledged before each kill."""
FREEZE_SECONDS = 0.1
WINDOW_SECONDS = 2.0 + FREEZE_SECONDS
"""How long Valkey may hold back what it has acknowledged, with `everysec` on a slow disk."""


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_a_killed_store_loses_nothing_that_was_on_the_disk_and_counts_nothing_twice(
    fsync: str, transport: str, tmp_path: Path, rounds: Rounds, report: Report
) -> None:
    found, oldest = AuditTotals(), 0.0
    async with breakable_server(tmp_path, transport, "--appendfsync", fsync) as (canuse, store):
        for rng in rounds(SHORT, LONG):
            # The creation of the users must not be lost.
            store.command("CONFIG", "SET", "appendfsync", "always")
            accounting = await open_accounting(canuse.address, rng)
            store.command("CONFIG", "SET", "appendfsync", fsync)
            async with accounting.load(canuse.address, rng.randrange(CALLS, 2 * CALLS)):
                if found.times % 2:
                    await freeze(store)
                killed_at = time.monotonic()
                await asyncio.to_thread(store.kill)
                await asyncio.to_thread(store.start)
            ages = [killed_at - item.at for item in await found.add(accounting, canuse.address)]
            oldest = max(oldest, *ages, 0.0)
    report("kill-nine", transport=transport, fsync=fsync, **asdict(found), oldest_lost_seconds=round(oldest, 2))
    assert found.unknown
    assert not found.counted_twice
    assert not found.over_limit
    assert oldest < WINDOW_SECONDS
    assert fsync == "everysec" or not found.lost


async def freeze(store: RedisServer) -> None:
    """Stop the store, so that many calls are waiting when it is killed."""
    assert store.process is not None
    store.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(FREEZE_SECONDS)


async def test_without_a_file_a_killed_store_has_lost_everything(
    transport: str, tmp_path: Path, report: Report
) -> None:
    async with breakable_server(tmp_path, transport, "--appendonly", "no") as (canuse, store):
        accounting = await open_accounting(canuse.address, random.Random(SEED))
        async with accounting.load(canuse.address, CALLS):
            pass
        await asyncio.to_thread(store.kill)
        await asyncio.to_thread(store.start)
        assert store.command("DBSIZE") == b":0\r\n"
        with Client(canuse.address) as client, pytest.raises(StoreUnavailable):
            await asyncio.to_thread(client.get_user, accounting.user_ids[0])
    lost = accounting.acknowledged
    report("kill-nine", transport=transport, fsync="no-file", times=1, acknowledged=lost, lost=lost)
