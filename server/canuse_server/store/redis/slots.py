"""The map from slots to the nodes of a Cluster."""

import asyncio
from binascii import crc_hqx
from collections.abc import Iterator
from contextvars import Context
from typing import Final, cast

import structlog

from canuse_server.store.errors import StoreError
from canuse_server.store.keys import BUCKETS, bucket_tag, tag_of
from canuse_server.store.redis.address import Address, StoreAddress
from canuse_server.store.redis.connection import PipelinedConnection
from canuse_server.store.redis.replies import check, pack

log = structlog.get_logger(__name__)

SLOTS: Final = 16_384
PROBE_TIMEOUT_SECONDS: Final = 0.5
"""Maximum time for one node to answer before the next one is queried."""
MIN_REFRESH_INTERVAL_SECONDS: Final = 0.1
"""Minimum time between two reads of the map."""
_CLUSTER_SLOTS: Final = pack(("CLUSTER", "SLOTS"))


def slot_of(key: str | bytes) -> int:
    """Return the slot of a key, by its hash tag if it has one."""
    # Redis uses the same CRC-16.
    return crc_hqx(tag_of(key).encode(), 0) % SLOTS


BUCKET_SLOTS: Final = tuple(crc_hqx(bucket_tag(bucket).encode(), 0) % SLOTS for bucket in range(BUCKETS))
"""The slot of each bucket of users."""


class SlotMap:
    """The owners of all slots. Threads of the lane read `owners`; everything else runs on the event loop."""

    def __init__(self, endpoint: StoreAddress, timeout_seconds: float) -> None:
        self._endpoint = endpoint
        self._timeout_seconds = min(timeout_seconds, PROBE_TIMEOUT_SECONDS)
        self.owners: list[Address | None] = [None] * SLOTS
        self._reading: asyncio.Task[None] | None = None
        self._read_at = float("-inf")

    def nodes(self) -> list[Address]:
        """Return the known owners of slots."""
        return sorted({owner for owner in self.owners if owner is not None})

    def tag_at(self, address: Address) -> str | None:
        """Return the hash tag of a bucket on a node; None if the node has no buckets."""
        return next((bucket_tag(bucket) for bucket in range(BUCKETS) if self._has(address, bucket)), None)

    def _has(self, address: Address, bucket: int) -> bool:
        return self.owners[BUCKET_SLOTS[bucket]] == address

    def moved(self, slot: int, address: Address) -> None:
        """Note the new owner of a slot, and read the map, since other slots have probably moved as well."""
        self.owners[slot] = address
        self.invalidate()

    def invalidate(self) -> None:
        """Read the map again, without waiting for it."""
        if self._reading is None and self._is_due():
            self._start()

    async def refresh(self) -> None:
        """Read the map again, unless it was just read."""
        if self._reading is None and self._is_due():
            self._start()
        if self._reading is not None:
            await asyncio.wait([self._reading])

    def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()

    def _is_due(self) -> bool:
        return asyncio.get_running_loop().time() >= self._read_at + MIN_REFRESH_INTERVAL_SECONDS

    def _start(self) -> None:
        # An empty context: it must not inherit the deadline of the call that starts it.
        self._reading = asyncio.create_task(self._read(), context=Context())
        self._reading.add_done_callback(self._done)

    def _done(self, _: "asyncio.Task[None]") -> None:
        self._reading = None
        self._read_at = asyncio.get_running_loop().time()

    async def _read(self) -> None:
        for address in dict.fromkeys([*self.nodes(), *self._endpoint.seeds]):
            connection = PipelinedConnection(self._endpoint.at(address), self._timeout_seconds)
            try:
                (reply,) = await connection.execute(_CLUSTER_SLOTS, 1, writes=False)
                owners: list[Address | None] = [None] * SLOTS
                for first, last, owner in _ranges(check(reply), address):
                    owners[first : last + 1] = [owner] * (last + 1 - first)
            except StoreError as error:
                log.warning("a node did not return its slot map", node=str(address), cause=str(error))
            else:
                self.owners = owners
                return
            finally:
                connection.close()


def _ranges(reply: object, queried: Address) -> Iterator[tuple[int, int, Address]]:
    """Read the reply to `CLUSTER SLOTS`. An empty host means the node that was queried."""
    for first, last, master, *_ in cast("list[tuple[int, int, list[bytes | int]]]", reply):
        host, port = cast("bytes | None", master[0]), cast("int", master[1])
        yield first, last, Address((host or b"").decode() or queried.host, port)
