"""The connections of one thread of the batch lane, and the choice of one by user."""

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
    """One connection for all users: to a single server, or to the master that the Sentinels report."""

    def __init__(self, single: BlockingConnection | None, invalidate: Callable[[], None]) -> None:
        """Create it on the event loop; `invalidate` is called there after an error, to find the store again."""
        self.single = single
        """The connection for all users; None if it depends on the user."""
        self._invalidate = invalidate
        self._loop = asyncio.get_running_loop()

    def connection_for(self, user_id: str) -> BlockingConnection:
        """Return the connection for a user."""
        assert self.single is not None, user_id
        return self.single

    def failed(self) -> None:
        """Note that a connection failed: the master may have changed."""
        with suppress(RuntimeError):  # The event loop has ended: canuse is stopping.
            self._loop.call_soon_threadsafe(self._invalidate)

    def give_up(self) -> None:
        """End all waits for the store, from another thread. No connection can be used afterwards."""
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
        """Return the connection to the node of a user, as far as is known."""
        # If it is not known, any node works: it redirects, and the event loop then reads the map of the slots.
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
        """End all waits for the store, from another thread. No connection can be used afterwards."""
        self._given_up = True
        for connection in list(self._connections.values()):
            connection.give_up()

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            connection.close()
