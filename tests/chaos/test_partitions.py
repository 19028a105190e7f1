"""The network between server and store, or between store and replica, drops everything for a while, or one direction.

Between server and store nothing that was acknowledged is lost, whichever direction is cut, and calls succeed again once
packets get through. On a half-open connection requests arrive and replies do not, so writes are made of which nobody
hears. Where a replica is cut off, the store dies and the replica takes over, what was acknowledged in the meantime is
lost with `durability` memory; with `replica` it is not acknowledged.

Guards, each of them a break of `make mutants`: a write that timed out had been sent (`connection.py`), and a write is
acknowledged only when replicas have confirmed it (`durability.py`).
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

import pytest

from chaos.accounting import WORKERS, AuditTotals, open_accounting
from chaos.breakable_server import breakable_server
from chaos.network import Link, Machine, machine
from support.chaos import Report, Rounds
from support.load import until
from support.processes import SHORT_STORE_TIMEOUT, Canuse
from support.relay import Relay

pytestmark = pytest.mark.chaos

SHORT, LONG = 1, 25
CALLS = 200
TIMEOUT_SECONDS = 0.4
QUICK = ("--repl-diskless-sync-delay", "0", "--shutdown-timeout", "0")


@pytest.mark.parametrize("cut", [Link.cut, Link.lose_what_is_sent, Link.lose_what_comes_back])
async def test_a_store_that_is_cut_off_for_a_while_has_lost_nothing_and_is_used_again(
    cut: Callable[[Link], None], transport: str, tmp_path: Path, rounds: Rounds, report: Report
) -> None:
    found = AuditTotals()
    with machine() as store_machine:
        store = store_machine.store(tmp_path / "store")
        async with breakable_server(tmp_path, transport, store=store, timeout_seconds=TIMEOUT_SECONDS) as (canuse, _):
            for rng in rounds(SHORT, LONG):
                accounting = await open_accounting(canuse.address, rng)
                async with accounting.load(canuse.address, CALLS):
                    cut(store_machine.link)
                    await asyncio.sleep(rng.uniform(0.5, 2))
                    store_machine.link.heal()
                    await accounting.wait_for_acknowledged(CALLS)
                await found.add(accounting, canuse.address)
    report("partition", between="server-store", how=cut.__name__, transport=transport, **asdict(found))
    assert found.unknown
    assert found.is_clean


@pytest.mark.parametrize("durability", ["memory", "replica"])
async def test_a_replica_that_was_cut_off_takes_over_and_lacks_nothing_that_waited_for_it(
    durability: str, transport: str, tmp_path: Path, rounds: Rounds, report: Report
) -> None:
    found = AuditTotals()
    for rng in rounds(SHORT, LONG):
        folder = tmp_path / str(found.times)
        with machine() as one, machine() as other:
            await fail_over_to_who_was_cut_off(durability, transport, folder, (one, other), rng, found)
    report("partition", between="store-replica", how="cut", transport=transport, durability=durability, **asdict(found))
    assert not found.counted_twice
    assert not found.over_limit
    assert bool(found.lost) == (durability == "memory")


async def fail_over_to_who_was_cut_off(
    durability: str,
    transport: str,
    folder: Path,
    machines: tuple[Machine, Machine],
    rng: random.Random,
    found: AuditTotals,
) -> None:
    """Cut a replica off under load, kill the store, promote the replica, and audit."""
    one, other = machines
    link = Link(one, other)
    store = one.store(folder / "store")
    heir = other.store(folder / "heir", "--replicaof", f"{link.addresses[0]} {store.port}", *QUICK)
    # The new store needs its own replica to confirm writes.
    spare = other.store(folder / "spare", "--replicaof", f"127.0.0.1 {heir.port}", *QUICK)
    async with AsyncExitStack() as stack:
        for server in (store, heir, spare):
            await asyncio.to_thread(server.start)
            stack.callback(server.stop)
        until(lambda: b"master_link_status:up" in spare.command("INFO", "replication"))
        relay = await stack.enter_async_context(Relay.to(store.port))
        relay.redirect_to(store.host, store.port)
        canuse = Canuse(folder, "--transport", transport, "--redis-url", relay.url, "--durability", durability)
        canuse.env |= {**SHORT_STORE_TIMEOUT, "CANUSE_DURABILITY_TIMEOUT_SECONDS": "1"}
        await asyncio.to_thread(canuse.start)
        stack.push_async_callback(asyncio.to_thread, canuse.stop)
        accounting = await open_accounting(canuse.address, rng)
        async with accounting.load(canuse.address, CALLS):
            link.cut()
            await (
                accounting.wait_for_acknowledged(CALLS)
                if durability == "memory"
                else accounting.wait_for_unknown(WORKERS)
            )
            await asyncio.to_thread(store.kill)
            heir.command("REPLICAOF", "NO", "ONE")
            relay.redirect_to(heir.host, heir.port)
            await accounting.wait_for_acknowledged(CALLS)
        await found.add(accounting, canuse.address)
    assert not canuse.failed_unexpectedly()
