"""The network between server and store, and between store and replica, loses everything for a while, or one way of it.

Between server and store nothing that was acknowledged is lost, whichever way is cut, and calls are answered again once
packets get through. A half-open connection, on which requests arrive and replies do not, is the one on which writes are
made that nobody hears of. Where a replica is cut off, the store dies and the replica takes over, what was acknowledged
meanwhile is lost with `durability` memory; with `replica` it is not acknowledged.

Guards, each of them a break of `make mutants`: a write that waited too long had been sent (`connection.py`), and a
write is acknowledged only when replicas have confirmed it (`durability.py`).
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from chaos.network import Link, machine
from chaos.stage import stage
from chaos.tally import Losses, tally
from support.chaos import Rounds, Tell

pytestmark = [pytest.mark.chaos, pytest.mark.networks]

SHORT, LONG = 1, 25
CALLS = 200
TIMEOUT_SECONDS = 0.4


@pytest.mark.parametrize("cut", [Link.cut, Link.lose_what_is_sent, Link.lose_what_comes_back])
async def test_a_store_that_is_cut_off_for_a_while_has_lost_nothing_and_is_used_again(
    cut: Callable[[Link], None], transport: str, tmp_path: Path, rounds: Rounds, tell: Tell
) -> None:
    found = Losses()
    with machine() as elsewhere:
        store = elsewhere.store(tmp_path / "store")
        async with stage(tmp_path, transport, store=store, timeout_seconds=TIMEOUT_SECONDS) as (canuse, _):
            for chance in rounds(SHORT, LONG):
                book = await tally(canuse.address, chance)
                async with book.load(canuse.address, CALLS):
                    cut(elsewhere.link)
                    await asyncio.sleep(chance.uniform(0.5, 2))
                    elsewhere.link.heal()
                    await book.go_on(CALLS)
                await found.add(book, canuse.address)
    tell("partition", between="server-store", how=cut.__name__, transport=transport, **asdict(found))
    assert found.unknown
    assert found.nothing
