"""The slots of users move from node to node of a Cluster, key by key, under load.

Nothing may be lost or count twice. While the keys of a user are on two nodes no script runs for that user: calls wait,
or fail with nothing written.

Guards: a server that answers `MOVED`, `ASK` or `TRYAGAIN` has not run the command (in `replies.py`), or calls fail for
an unknown reason; and what may have run is not sent again (`_routed` in `cluster.py`), or events without an id count
twice.
"""

import asyncio
import random
from itertools import cycle
from pathlib import Path

import pytest

from canuse_server.store.keys import bucket_of
from canuse_server.store.redis.slots import BUCKET_SLOTS
from chaos.accounting import open_accounting
from support.chaos import SEED, Report, Rounds
from support.load import running
from support.processes import SHORT_STORE_TIMEOUT, Canuse
from support.topologies import Cluster

pytestmark = pytest.mark.chaos

SHORT, LONG = 2, 10
CALLS = 150
"""Minimum number of calls acknowledged before the slots begin to move."""


async def test_users_that_move_between_nodes_lose_nothing_and_count_nothing_twice(
    transport: str, tmp_path: Path, rounds: Rounds, report: Report
) -> None:
    cluster = await asyncio.to_thread(Cluster(tmp_path / "stores").start)
    try:
        options = ("--transport", transport, "--redis-url", cluster.url)
        with running(Canuse(tmp_path, *options, env=SHORT_STORE_TIMEOUT)) as canuse:
            times = forgotten = keys = 0
            accounting = await open_accounting(canuse.address, random.Random(SEED))
            slots = sorted({BUCKET_SLOTS[bucket_of(user_id)] for user_id in accounting.user_ids})
            for rng in rounds(SHORT, LONG):
                async with accounting.load(canuse.address, rng.randrange(CALLS, 2 * CALLS)):
                    keys += await asyncio.to_thread(move_all, cluster, rng.sample(slots, len(slots)))
                forgotten += len(await accounting.resend_recent(canuse.address))
                times += 1
            found = await asyncio.to_thread(accounting.audit, canuse.address)
    finally:
        cluster.stop()
    report(
        "reshard", transport=transport, times=times, slots=times * len(slots), keys=keys,
        acknowledged=accounting.acknowledged, unknown=accounting.outcomes["OUTCOME_UNKNOWN"],
        unavailable=accounting.outcomes["STORE_UNAVAILABLE"],
        lost=found.lost + forgotten, counted_twice=found.over_counted, over_limit=found.over_limit,
    )  # fmt: skip
    assert not canuse.failed_unexpectedly()
    assert keys
    assert accounting.outcomes["OUTCOME_UNKNOWN"] == 0
    assert (forgotten, found.lost, found.over_counted, found.over_limit) == (0, 0, 0, 0)


def move_all(cluster: Cluster, slots: list[int]) -> int:
    """Move slots to other nodes; return how many keys moved."""
    targets, moved = cycle(cluster.masters), 0
    for slot in slots:
        owner = cluster.owner(slot)
        moved += cluster.move(slot, next(target for target in targets if target is not owner))
    return moved
