"""A restored store answers every call as the one that was backed up, whatever happened before."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import ClassVar, Final

import pytest
from hypothesis.stateful import invariant

from model.machine import Machine
from model.runner import SETTINGS, run_examples
from support.command_line import CommandLine
from support.processes import Canuse, RedisServer
from support.tools import VALKEY_SERVER, tool
from support.topologies import Cluster

SEED: Final = 19
EXAMPLES: Final = 5
STEPS_BEFORE: Final = 15
"""Number of calls of an example before it moves. Most examples have more than twice as many."""


class MovingMachine(Machine):
    """In the middle of each example the data moves to another store, and the example goes on there."""

    stores: ClassVar[Iterator[str]]
    backup: ClassVar[Path]
    servers: ClassVar[list[Canuse]]
    """All servers so far; the last one is running."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    @invariant()
    def move(self) -> None:
        """Back up the store, restore the backup into the next one, and continue with a server on that."""
        self.steps += 1
        if self.steps != STEPS_BEFORE:
            return
        kind, source = type(self), self.canuse
        run, target = CommandLine(source.address), next(self.stores)
        url = source.options[source.options.index("--redis-url") + 1]
        backed_up = run("backup", str(self.backup), "--redis-url", url)
        assert backed_up.status == 0, backed_up.stderr
        self.disconnect()
        source.stop()
        restored = run("restore", str(self.backup), "--redis-url", target, "--replace")
        assert restored.status == 0, restored.stderr
        kind.canuse = server_on(target, source.folder)
        self.servers.append(kind.canuse.start())
        for user_id in self.user_ids:
            self.compare(user_id)
        for name, arguments in self.repeatable_calls:
            self.call_both(name, *arguments)


def server_on(url: str, folder: Path) -> Canuse:
    """Return a server with the manual clock on a store."""
    return Canuse(folder, "--clock", "manual", "--redis-url", url, env=SETTINGS)


@pytest.mark.extended
def test_a_restored_store_answers_as_the_one_that_was_backed_up(tmp_path: Path) -> None:
    with ExitStack() as stack:
        urls = []
        for number, program in enumerate((VALKEY_SERVER, tool("redis-server"))):
            single = RedisServer(program, tmp_path / f"single{number}")
            single.start()
            stack.callback(single.stop)
            urls.append(single.url)
        cluster = Cluster(tmp_path / "cluster").start()
        stack.callback(cluster.stop)
        # From Valkey to a Cluster, from there to Redis, and back to Valkey.
        urls.insert(1, cluster.url)
        MovingMachine.stores, MovingMachine.backup = cycle([*urls[1:], urls[0]]), tmp_path / "backup"
        MovingMachine.servers = [server_on(urls[0], tmp_path).start()]
        # The last one at the end.
        stack.callback(lambda: MovingMachine.servers[-1].stop())  # noqa: PLW0108
        assert run_examples(MovingMachine.servers[0], SEED, EXAMPLES, MovingMachine) > 0
        assert len(MovingMachine.servers) > len(urls)
