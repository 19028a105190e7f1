"""The disk under the append-only file is full under load, until there is room again.

With `appendfsync always` the store exits rather than acknowledge what it could not write, and nothing is lost. With
`everysec` it refuses writes from then on, which is STORE_UNAVAILABLE, and recovers by itself. What it acknowledged just
before is only in its memory, and lost if it is killed before there is room: that is measured.

Guards: `appendfsync always`, without which the first test loses something where the store is killed, as the last one
shows; and, a break of `make mutants`, `MISCONF` is known to be a refusal (`replies.py`).
"""

import asyncio
from dataclasses import asdict
from pathlib import Path

import pytest

from chaos.accounting import AuditTotals, open_accounting
from chaos.breakable_server import breakable_server
from chaos.disks import filled, small_disk
from support.chaos import Report, Rounds
from support.processes import RedisServer
from support.tools import VALKEY_SERVER

pytestmark = pytest.mark.chaos

SHORT, LONG = 2, 50
CALLS = 300
REFUSED = 100
MEGABYTES = 64
LEFT_BYTES = 100_000
NO_REWRITE = ("--auto-aof-rewrite-percentage", "0")


async def fill_and_count(
    folder: Path, transport: str, fsync: str, rounds: Rounds, *, kill_while_full: bool = False
) -> AuditTotals:
    """Fill the disk repeatedly; return the findings."""
    found = AuditTotals()
    settings = (*NO_REWRITE, "--appendfsync", fsync)
    with small_disk(folder, MEGABYTES) as disk:
        server = RedisServer(VALKEY_SERVER, disk / "store", settings)
        async with breakable_server(folder, transport, store=server) as (canuse, store):
            for rng in rounds(SHORT, LONG):
                accounting = await open_accounting(canuse.address, rng)
                async with accounting.load(canuse.address, CALLS):
                    with filled(disk, LEFT_BYTES):
                        await accounting.wait_for_refused(REFUSED)
                        if kill_while_full:
                            await asyncio.to_thread(store.kill)
                        assert store.has_ended() == (kill_while_full or fsync == "always")
                    if store.has_ended():
                        await asyncio.to_thread(store.start)
                    await accounting.wait_for_acknowledged(CALLS)
                await found.add(accounting, canuse.address)
    return found


async def test_a_store_that_syncs_each_write_ends_when_the_disk_is_full_and_loses_nothing(
    transport: str, tmp_path: Path, rounds: Rounds, report: Report
) -> None:
    found = await fill_and_count(tmp_path, transport, "always", rounds)
    report("full-disk", transport=transport, fsync="always", **asdict(found))
    assert found.is_clean


async def test_a_store_that_syncs_each_second_refuses_while_the_disk_is_full_and_goes_on_by_itself(
    transport: str, tmp_path: Path, rounds: Rounds, report: Report
) -> None:
    found = await fill_and_count(tmp_path, transport, "everysec", rounds)
    report("full-disk", transport=transport, fsync="everysec", **asdict(found))
    assert found.is_clean


async def test_a_store_that_syncs_each_second_and_is_killed_while_the_disk_is_full_loses_what_it_could_not_write(
    tmp_path: Path, rounds: Rounds, report: Report
) -> None:
    found = await fill_and_count(tmp_path, "native", "everysec", rounds, kill_while_full=True)
    report("full-disk", transport="native", fsync="everysec", killed="while-full", **asdict(found))
    assert not found.counted_twice
