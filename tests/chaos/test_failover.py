"""A replica takes over from the master repeatedly under load: the master is killed, or told to step down.

With writes that both replicas must confirm nothing may be lost; with writes in the master's memory alone loss is
possible, and is measured. In neither case may anything count twice or beyond a limit.

Guards: writes wait for the replicas (in `durability.py`), or they are lost; and what was sent and not answered is
OUTCOME_UNKNOWN (in `lane.py` and in `connection.py`), or something is counted although its caller was told that nothing
was written.
"""

import asyncio
import random
from pathlib import Path

import pytest

from chaos.accounting import open_accounting
from support.chaos import SEED, Report, Rounds
from support.load import running
from support.processes import SHORT_STORE_TIMEOUT, Canuse
from support.topologies import Cluster, SentinelTrio, wait_for

pytestmark = pytest.mark.chaos

SHORT, LONG = 2, 20
CALLS = 150
"""Minimum number of calls acknowledged before each failover."""
LEVELS = {"memory": (), "replica": ("--durability", "replica")}


@pytest.mark.parametrize("level", LEVELS)
async def test_a_failover_by_sentinels_loses_no_more_than_was_promised(
    level: str, transport: str, tmp_path: Path, rounds: Rounds, report: Report
) -> None:
    trio = await asyncio.to_thread(SentinelTrio(tmp_path / "stores").start)
    try:
        options = ("--transport", transport, "--redis-url", trio.url, *LEVELS[level])
        # Both replicas must confirm: Sentinels may promote either.
        with running(
            Canuse(tmp_path, *options, env={**SHORT_STORE_TIMEOUT, "CANUSE_DURABILITY_REPLICAS": "2"})
        ) as canuse:
            times = forgotten = 0
            accounting = await open_accounting(canuse.address, random.Random(SEED))
            for rng in rounds(SHORT, LONG):
                async with accounting.load(canuse.address, rng.randrange(CALLS, 2 * CALLS)):
                    await asyncio.to_thread(replace_killed if times % 2 else SentinelTrio.fail_over, trio)
                forgotten += len(await accounting.resend_recent(canuse.address))
                times += 1
            found = await asyncio.to_thread(accounting.audit, canuse.address)
    finally:
        trio.stop()
    report(
        "failover", store="sentinel", transport=transport, durability=level, times=times,
        acknowledged=accounting.acknowledged, unknown=accounting.outcomes["OUTCOME_UNKNOWN"],
        unavailable=accounting.outcomes["STORE_UNAVAILABLE"], lost=found.lost + forgotten,
        counted_twice=found.over_counted, over_limit=found.over_limit,
    )  # fmt: skip
    assert not canuse.failed_unexpectedly()
    assert (found.over_counted, found.over_limit) == (0, 0)
    if level == "replica":
        assert (forgotten, found.lost) == (0, 0)


def replace_killed(trio: SentinelTrio) -> None:
    """Kill the master, wait until another server is the master, and restart it as a replica."""
    master = trio.master()
    master.kill()
    wait_for(lambda: trio.master() is not master, "nobody took over")
    master.start()
    wait_for(trio.is_complete, "the old master did not become a replica")


async def test_a_failover_in_a_cluster_loses_nothing_that_its_replica_had_confirmed(
    transport: str, tmp_path: Path, rounds: Rounds, report: Report
) -> None:
    cluster = await asyncio.to_thread(Cluster(tmp_path / "stores", replicas=True).start)
    try:
        options = ("--transport", transport, "--redis-url", cluster.url, *LEVELS["replica"])
        with running(Canuse(tmp_path, *options, env=SHORT_STORE_TIMEOUT)) as canuse:
            times = forgotten = 0
            accounting = await open_accounting(canuse.address, random.Random(SEED))
            for rng in rounds(SHORT, LONG):
                slot = rng.randrange(16_384)
                async with accounting.load(canuse.address, rng.randrange(CALLS, 2 * CALLS)):
                    await asyncio.to_thread(fail_over_by_kill if times % 2 else fail_over_by_word, cluster, slot)
                forgotten += len(await accounting.resend_recent(canuse.address))
                times += 1
            found = await asyncio.to_thread(accounting.audit, canuse.address)
    finally:
        cluster.stop()
    report(
        "failover", store="cluster", transport=transport, durability="replica", times=times,
        acknowledged=accounting.acknowledged, unknown=accounting.outcomes["OUTCOME_UNKNOWN"],
        unavailable=accounting.outcomes["STORE_UNAVAILABLE"], lost=found.lost + forgotten,
        counted_twice=found.over_counted, over_limit=found.over_limit,
    )  # fmt: skip
    assert not canuse.failed_unexpectedly()
    assert (forgotten, found.lost, found.over_counted, found.over_limit) == (0, 0, 0, 0)


def fail_over_by_word(cluster: Cluster, slot: int) -> None:
    """Command the replica of a slot's master to take over."""
    master = cluster.owner(slot)
    cluster.command(cluster.replica_of(master), "CLUSTER", "FAILOVER")
    wait_for(lambda: cluster.owner(slot) is not master, "nobody took over")
    wait_for(cluster.is_complete, "the old master did not become a replica")


def fail_over_by_kill(cluster: Cluster, slot: int) -> None:
    """Kill the master of a slot, wait until its replica has taken over, and restart it as a replica."""
    master = cluster.owner(slot)
    master.kill()
    wait_for(lambda: cluster.owner(slot) is not master, "nobody took over")
    master.start()
    wait_for(cluster.is_complete, "the old master did not become a replica")
