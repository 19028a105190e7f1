"""The connections of one thread of the batch lane: which of them a user's commands go over."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from canuse_server.store.keys import bucket_of
from canuse_server.store.redis.address import Address, StoreAddress
from canuse_server.store.redis.blocking_connection import BlockingConnection
from canuse_server.store.redis.data_guard import DataGuard
from canuse_server.store.redis.sentinel import MasterResolver
from canuse_server.store.redis.slots import BUCKET_SLOTS, SlotMap


class ConnectionRouter:
    """One connection for all users: to a single server, or to the master that the Sentinels name."""

    def __init__(self, single: BlockingConnection | None, invalidate: Callable[[], None]) -> None:
        """Be made on the event loop in which `suspect` has looked again at where the store is."""
        self.single = single
        """The connection for all users; None where it depends on the user."""
        self._suspect = invalidate
        self._loop = asyncio.get_running_loop()

    def connection_for(self, user_id: str) -> BlockingConnection:
        """Return the connection for a user."""
        assert self.single is not None, user_id
        return self.single

    def failed(self) -> None:
        """Take note that a connection failed: the store may be elsewhere by now."""
        with suppress(RuntimeError):  # The event loop has ended: canuse is stopping.
            self._loop.call_soon_threadsafe(self._suspect)

    def give_up(self) -> None:
        """From another thread: let whoever waits for the store wait no longer. No connection can be used any more."""
        if self.single is not None:
            self.single.give_up()

    def close(self) -> None:
        """Close all connections."""
        if self.single is not None:
            self.single.close()


class ClusterRouter(ConnectionRouter):
    """A connection to each node of a Cluster."""

    def __init__(self, endpoint: StoreAddress, slots: SlotMap, timeout_seconds: float, guard: DataGuard) -> None:
        super().__init__(None, slots.invalidate)
        self._guard = guard
        self._endpoint = endpoint
        self._slots = slots
        self._timeout_seconds = timeout_seconds
        self._connections: dict[Address, BlockingConnection] = {}
        self._given_up = False

    def connection_for(self, user_id: str) -> BlockingConnection:
        """Return the connection to the node that has a user, as far as is known."""
        # Where it is not known any node will do: it says that the slot is another's, and the event loop finds out.
        address = self._slots.owners[BUCKET_SLOTS[bucket_of(user_id)]] or self._endpoint.seeds[0]
        connection = self._connections.get(address)
        if connection is None:
            node = MasterResolver(self._endpoint.at(address), self._timeout_seconds, self._guard)
            connection = BlockingConnection(node, self._timeout_seconds)
            self._connections[address] = connection
            if self._given_up:
                connection.give_up()
        return connection

    def give_up(self) -> None:
        """From another thread: let whoever waits for the store wait no longer. No connection can be used any more."""
        self._given_up = True
        for connection in list(self._connections.values()):
            connection.give_up()

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            connection.close()
