"""The power of the disk is cut under load: what was not synced (fsync) is gone.

With `appendfsync always` nothing may be lost. With `everysec` what was acknowledged in the last second or two is lost;
that is measured, and nothing older may be lost. (`kill -9` can't show that: what a killed process has written stays
with the operating system.)

Guard: `appendfsync always`; with `everysec` in its place the first test fails, as the second one shows. `durability
fsync` insists on it, for with `everysec` Valkey confirms what is not on the disk yet, as this script found. A break of
`make mutants` has canuse believe it (`durability.py`).
"""

import asyncio
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from chaos.accounting import AuditTotals, open_accounting
from chaos.breakable_server import breakable_server
from chaos.disks import PowerCutDisk
from support.chaos import Report, Rounds
from support.processes import RedisServer
from support.tools import VALKEY_SERVER

pytestmark = pytest.mark.chaos

SHORT, LONG = 2, 100
CALLS = 300
MEGABYTES = 128
WINDOW_SECONDS = 2.0
"""What `everysec` may lose, according to docs/storage.md."""


async def cut_and_count(
    fsync: str, durability: str, transport: str, folder: Path, rounds: Rounds
) -> tuple[AuditTotals, list[float]]:
    """Cut the power repeatedly; return the findings, and how long before the cut the lost events were acknowledged."""
    found, ages = AuditTotals(), list[float]()
    disk = PowerCutDisk(folder, MEGABYTES)
    try:
        server = RedisServer(VALKEY_SERVER, disk.path / "store")
        async with breakable_server(folder, transport, store=server, durability=durability) as (canuse, store):
            for rng in rounds(SHORT, LONG):
                # The creation of the users must not be lost.
                store.command("CONFIG", "SET", "appendfsync", "always")
                accounting = await open_accounting(canuse.address, rng)
                store.command("CONFIG", "SET", "appendfsync", fsync)
                async with accounting.load(canuse.address, CALLS):
                    await asyncio.sleep(rng.uniform(0, 2))
                    await asyncio.to_thread(store.kill)
                    cut_at = time.monotonic()
                    disk.cut()
                    disk.power_up()
                    await asyncio.to_thread(store.start)
                ages += [cut_at - item.at for item in await found.add(accounting, canuse.address)]
    finally:
        disk.close()
    return found, ages


@pytest.mark.parametrize("durability", ["memory", "fsync"])
async def test_a_power_cut_loses_nothing_of_what_was_acknowledged_once_it_was_on_the_disk(
    durability: str, transport: str, tmp_path: Path, rounds: Rounds, report: Report
) -> None:
    found, _ = await cut_and_count("always", durability, transport, tmp_path, rounds)
    report("power-cut", transport=transport, fsync="always", durability=durability, **asdict(found))
    assert found.is_clean


async def test_with_a_write_a_second_to_the_disk_a_power_cut_loses_what_is_younger_than_two_seconds(
    transport: str, tmp_path: Path, rounds: Rounds, report: Report
) -> None:
    found, ages = await cut_and_count("everysec", "memory", transport, tmp_path, rounds)
    oldest, figures = max(ages, default=0), asdict(found)
    report(
        "power-cut", transport=transport, fsync="everysec", durability="memory", **figures,
        oldest_lost_seconds=round(oldest, 2),
    )  # fmt: skip
    assert found.lost
    assert oldest < WINDOW_SECONDS
    assert not found.counted_twice
