"""Stores of several servers on the loopback: a master with replicas watched by Sentinels, and a Cluster."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self, cast

from redis import Redis
from redis.exceptions import RedisError

from support.processes import RedisServer, free_port
from support.tools import VALKEY_SERVER

MASTER_NAME: Final = "counts"
SLOTS: Final = 16_384
MAX_WAIT_SECONDS: Final = 60
DOWN_AFTER_MS: Final = 500
"""How long Sentinels and nodes wait before they consider a server dead."""


class Topology(ABC):
    """Servers that form one store. `url` is the setting for canuse."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: list[RedisServer] = []
        self._stack = ExitStack()

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for canuse."""

    @abstractmethod
    def start(self) -> Self:
        """Start all servers, and wait until they know each other."""

    def run(self, name: str, *settings: str) -> RedisServer:
        """Start another server."""
        server = RedisServer(VALKEY_SERVER, self.folder / name, settings)
        self.folder.mkdir(exist_ok=True)
        server.start()
        self._stack.callback(server.stop)
        self.servers.append(server)
        return server

    def stop(self) -> None:
        """End all servers."""
        self._stack.close()


class SentinelTrio(Topology):
    """A master, two replicas and three Sentinels with a quorum of two."""

    def start(self) -> Self:
        """See Topology."""
        quick = ("--repl-diskless-sync-delay", "0")
        master = self.run("master", *quick)
        for number in range(2):
            self.run(f"replica{number}", *quick, "--replicaof", f"127.0.0.1 {master.port}")
        self.sentinels = [self._sentinel(f"sentinel{number}", master) for number in range(3)]
        wait_for(self.is_complete, "the Sentinels do not know all others")
        return self

    def _sentinel(self, name: str, master: RedisServer) -> RedisServer:
        folder = self.folder / name
        folder.mkdir()
        lines = (
            f"sentinel monitor {MASTER_NAME} 127.0.0.1 {master.port} 2",
            f"sentinel down-after-milliseconds {MASTER_NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {MASTER_NAME} 5000",
        )
        config = folder / "sentinel.conf"
        config.write_text("\n".join(lines) + "\n")
        server = Sentinel(VALKEY_SERVER, folder, (str(config),))
        server.start()
        self._stack.callback(server.stop)
        return server

    def is_complete(self) -> bool:
        """Whether both replicas follow the master, and all Sentinels know it."""
        with Redis(port=self.master().port) as client:
            info = client.info("replication")
        online = [info.get(name, {}).get("state") == "online" for name in ("slave0", "slave1")]
        return all(online) and all(map(self._is_known_to, self.sentinels))

    def _is_known_to(self, sentinel: RedisServer) -> bool:
        state = self.state(sentinel)
        return (state["num-slaves"], state["num-other-sentinels"], state["flags"]) == (2, 2, "master")

    @staticmethod
    def state(sentinel: RedisServer) -> dict[str, object]:
        """Return a Sentinel's view of the master."""
        with Redis(port=sentinel.port, decode_responses=True) as client:
            state = client.sentinel_master(MASTER_NAME)
            assert isinstance(state, dict)
            return state

    @property
    def url(self) -> str:
        """See Topology."""
        addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{addresses}/{MASTER_NAME}"

    def master(self) -> RedisServer:
        """Return the current master, according to the first Sentinel."""
        port = self.state(self.sentinels[0])["port"]
        return next(server for server in self.servers if server.port == port)

    def fail_over(self) -> None:
        """Promote a replica, as an operator would, and wait until all Sentinels know."""
        before = self.master().port
        with Redis(port=self.sentinels[0].port) as client:
            wait_for(lambda: client.sentinel_failover(MASTER_NAME), "no failover was begun")
        wait_for(
            lambda: all(self.state(sentinel)["port"] != before for sentinel in self.sentinels), "there was no failover"
        )
        wait_for(self.is_complete, "the old master did not become a replica")


class Sentinel(RedisServer):
    """A Sentinel: it keeps its state in the file it is started with."""

    def start(self) -> "Sentinel":
        """See RedisServer."""
        self.launch([self.program, self.settings[0], "--sentinel", "--port", str(self.port), "--bind", "127.0.0.1"])
        return self


class Cluster(Topology):
    """Three masters that share the slots; with `replicas`, each has one."""

    def __init__(self, folder: Path, *, replicas: bool = False) -> None:
        super().__init__(folder)
        self._replicas = replicas

    def start(self) -> Self:
        """See Topology."""
        self.masters = [self.node(f"node{number}") for number in range(3)]
        for number, server in enumerate(self.masters):
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            self.command(server, "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
            self.command(server, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        self.meet(*self.masters)
        if self._replicas:
            for number, server in enumerate(self.masters):
                replica = self.node(f"replica{number}")
                self.meet(server, replica)
                wait_for(lambda: self._follow(replica, server), "a replica does not know its master")  # noqa: B023
        wait_for(self.is_complete, "the Cluster did not come together")
        return self

    def node(self, name: str) -> RedisServer:
        """Start a node that knows no other."""
        settings = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(DOWN_AFTER_MS * 2))
        bus = ("--cluster-port", str(free_port()), "--repl-diskless-sync-delay", "0")
        return self.run(name, *settings, *bus)

    def meet(self, *servers: RedisServer) -> None:
        """Introduce nodes to each other."""
        for server in servers[1:]:
            bus = server.settings[server.settings.index("--cluster-port") + 1]
            self.command(servers[0], "CLUSTER", "MEET", "127.0.0.1", str(server.port), bus)

    def _follow(self, replica: RedisServer, master: RedisServer) -> bool:
        try:
            self.command(replica, "CLUSTER", "REPLICATE", self.id_of(master))
        except RedisError:
            return False  # It has not heard of its master yet.
        return True

    def is_complete(self) -> bool:
        """Whether all nodes know each other, and all replicas follow."""
        return all(map(self._is_known_to, self.servers))

    def _is_known_to(self, server: RedisServer) -> bool:
        info = str(self.command(server, "CLUSTER", "INFO"))
        known = f"cluster_known_nodes:{len(self.servers)}\r\n" in info
        nodes = str(self.command(server, "CLUSTER", "NODES"))
        replicas = nodes.count(" slave ") + nodes.count("myself,slave ")
        return known and "cluster_state:ok" in info and replicas == (3 if self._replicas else 0)

    @staticmethod
    def command(server: RedisServer, *words: str) -> object:
        """Send one command to a node."""
        with Redis(port=server.port, decode_responses=True) as client:
            return client.execute_command(*words)

    def replica_of(self, master: RedisServer) -> RedisServer:
        """Return the replica of a master, according to the master."""
        with Redis(port=master.port, decode_responses=True) as client:
            port = int(client.info("replication")["slave0"]["port"])
        return next(server for server in self.servers if server.port == port)

    def id_of(self, server: RedisServer) -> str:
        """Return the id of a node."""
        return str(self.command(server, "CLUSTER", "MYID"))

    def owner(self, slot: int) -> RedisServer:
        """Return the master of a slot, according to the first node that answers."""
        for first, last, (_, port, *_), *_ in self.slots():
            if first <= slot <= last:
                return next(server for server in self.servers if server.port == port)
        raise AssertionError(f"nobody has slot {slot}")

    def slots(self) -> list[list[Any]]:
        """Return the ranges of slots with their nodes, from a node that answers."""
        for server in self.servers:
            with Redis(port=server.port, decode_responses=True) as client, suppress(RedisError):
                return cast("list[list[Any]]", client.execute_command("CLUSTER SLOTS", _raw=True))
        raise AssertionError("no node answers")

    def begin_to_move(self, slot: int, target: RedisServer) -> RedisServer:
        """Announce that a slot moves to another node; return the node that has it."""
        source = self.owner(slot)
        self.command(target, "CLUSTER", "SETSLOT", str(slot), "IMPORTING", self.id_of(source))
        self.command(source, "CLUSTER", "SETSLOT", str(slot), "MIGRATING", self.id_of(target))
        return source

    def move_keys(self, slot: int, source: RedisServer, target: RedisServer) -> int:
        """Move the keys of a moving slot, a few at a time; return how many there were."""
        moved = 0
        with Redis(port=source.port) as client:
            while keys := cast("list[bytes]", client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 3)):
                words = ("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
                client.execute_command(*words)
                moved += len(keys)
        return moved

    def end_move(self, slot: int, target: RedisServer) -> None:
        """Tell all masters the new owner of a slot: first the new owner, so that the slot always has one."""
        for server in (target, *(server for server in self.masters if server is not target)):
            self.command(server, "CLUSTER", "SETSLOT", str(slot), "NODE", self.id_of(target))

    def move(self, slot: int, target: RedisServer) -> int:
        """Move a slot to another node; return how many keys it had."""
        source = self.begin_to_move(slot, target)
        moved = self.move_keys(slot, source, target)
        self.end_move(slot, target)
        return moved

    @property
    def url(self) -> str:
        """See Topology."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.masters)


def wait_for(condition: Callable[[], object], failure: str) -> None:
    """Wait until a condition holds; `failure` is the message if it does not."""
    deadline, cause = time.monotonic() + MAX_WAIT_SECONDS, ""
    while True:
        try:
            if condition():
                return
        except RedisError as error:
            cause = f": {error}"
        assert time.monotonic() < deadline, failure + cause
        time.sleep(0.02)
