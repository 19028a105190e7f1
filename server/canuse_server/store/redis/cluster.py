"""A store on the nodes of a Cluster. All keys of one decision are on one node.

A node that does not own a slot redirects without running the command, so the command can be sent again, even a write.
No other command is sent again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count
from typing import Final, TypeVar

from redis.asyncio.client import PubSub

from canuse_server.runtime.call_state import current_call
from canuse_server.store.errors import OutcomeUnknownError, StoreError, StoreUnavailableError, UnreachableError
from canuse_server.store.keys import BUCKETS, SCHEMA, bucket_tag, data_mark, key_of
from canuse_server.store.redis import stats
from canuse_server.store.redis.address import Address, StoreAddress
from canuse_server.store.redis.client import IN_MEMORY, REDIRECT_DELAY_SECONDS, RawCommand, Store
from canuse_server.store.redis.command import Command
from canuse_server.store.redis.durability import Promise
from canuse_server.store.redis.replies import AskError, MovedError, NotMadeError, RedirectError, TryLaterError
from canuse_server.store.redis.routing import ClusterRouter, ConnectionRouter
from canuse_server.store.redis.slots import SlotMap, slot_of
from canuse_server.store.scripts.loader import Script

T = TypeVar("T")

KEYLESS: Final = frozenset({"INFO", "CONFIG"})
"""Commands that any node answers."""


def store_at(endpoint: StoreAddress, timeout_seconds: float, promise: Promise = IN_MEMORY) -> Store:
    """Return the store at an address. Connections open on first use."""
    return (ClusterStore if endpoint.seeds else Store)(endpoint, timeout_seconds, promise)


class ClusterStore(Store):
    """See Store. Each node is a Store."""

    def __init__(self, endpoint: StoreAddress, timeout_seconds: float, promise: Promise = IN_MEMORY) -> None:
        super().__init__(endpoint, timeout_seconds, promise)
        self._slots = SlotMap(endpoint, timeout_seconds)
        self._nodes: dict[Address, Store] = {}
        self._next_node = count()

    async def load_scripts(self) -> None:
        """Load all scripts into all nodes."""
        for node in await self._all_nodes():
            await node.load_scripts()

    async def call(self, *commands: RawCommand) -> tuple[list[object], int]:
        """See Store. If several nodes answer, the time is that of the first one."""
        if not commands:
            return [], await self.now_ms()
        indexes: dict[Address | None, list[int]] = {}
        for index, command in enumerate(commands):
            indexes.setdefault(self._slots.owners[self._slot(command)], []).append(index)
        parts = await asyncio.gather(
            *(self._read(owner, [commands[index] for index in part]) for owner, part in indexes.items())
        )
        replies: list[object] = [None] * len(commands)
        for part, read in zip(indexes.values(), parts, strict=True):
            for index, (reply, _) in zip(part, read, strict=True):
                replies[index] = reply
        return replies, parts[0][0][1]

    async def _read(self, owner: Address | None, commands: Sequence[RawCommand]) -> list[tuple[object, int]]:
        """Return the replies to commands of one node, each with the time before it; follow redirects."""
        if owner is not None:
            try:
                replies, now_ms = await self._node(owner).call(*commands)
            except (RedirectError, UnreachableError):
                self._slots.invalidate()
            else:
                return [(reply, now_ms) for reply in replies]
        return [await self._read_one(command) for command in commands]

    async def _read_one(self, command: RawCommand) -> tuple[object, int]:
        return await self._routed(self._slot(command), lambda node, asking: node.read_once(command, asking=asking))

    async def pipeline(self, commands: Sequence[Command]) -> list[tuple[object, int]]:
        """See Store. Commands of one node, and so of one user, keep their order."""
        indexes: dict[Address | None, list[int]] = {}
        for index, command in enumerate(commands):
            indexes.setdefault(self._slots.owners[self._slot(command.command)], []).append(index)
        parts = await asyncio.gather(
            *(self._pipeline_to(owner, [commands[index] for index in part]) for owner, part in indexes.items())
        )
        results: dict[int, tuple[object, int]] = {}
        for part, part_results in zip(indexes.values(), parts, strict=True):
            results |= dict(zip(part, part_results, strict=True))
        return [results[index] for index in range(len(commands))]

    async def _pipeline_to(self, owner: Address | None, commands: Sequence[Command]) -> list[tuple[object, int]]:
        """Execute commands on one node. The first redirected command of each slot is executed on its new node.

        The other redirected commands of the slot end with NotMadeError and are sent again together; those with an ASK
        redirect are executed one by one.
        """
        results: list[tuple[object, int]] = [(TryLaterError("the node is not known"), 0)] * len(commands)
        if owner is not None:
            results = await self._node(owner).pipeline(commands)
            if any(isinstance(reply, StoreError) for reply, _ in results):
                self._slots.invalidate()
        failure: StoreError | None = None
        executed_slots: set[int] = set()
        for index, (reply, _) in enumerate(results):
            if not isinstance(reply, RedirectError | UnreachableError):
                continue
            slot = self._slot(commands[index].command)
            if failure is None and slot in executed_slots and not isinstance(reply, AskError):
                results[index] = NotMadeError(str(reply)), 0
                continue
            if failure is None:
                try:
                    results[index] = await self.execute(commands[index])
                    executed_slots.add(slot)
                except StoreUnavailableError as error:
                    failure = error  # Each of the others would fail in the same way, after a timeout.
                except StoreError as error:
                    results[index] = error, 0
            if failure is not None:
                results[index] = failure, 0
        return results

    async def change(self, *commands: RawCommand) -> None:
        """See Store."""
        await self._routed(self._slot(commands[0]), lambda node, _: node.change(*commands))

    async def confirm(self) -> None:
        """See Store. All nodes confirm, since the writes may have gone to any of them."""
        level = self._level()
        if not level or current_call().confirmed:
            return
        tags = {address: self._slots.tag_at(address) for address in self._slots.nodes()}
        confirming = (self._node(address).confirm_at(level, tag) for address, tag in tags.items() if tag is not None)
        await asyncio.gather(*confirming)

    async def infos(self) -> list[dict[str, str]]:
        """See Store."""
        return [info for node in await self._all_nodes() for info in await node.infos()]

    async def scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """See Store."""
        for node in await self._all_nodes():
            async for keys in node.scan(pattern):
                yield keys

    async def servers(self) -> Sequence[Store]:
        """See Store."""
        await self._slots.refresh()
        return await self._all_nodes()

    async def now_ms(self, near: str = "") -> int:
        """See Store."""
        if self.manual_now_ms is not None:
            return self.manual_now_ms
        return await self._routed(slot_of(near), lambda node, _: node.now_ms())

    async def create_schema(self, version: str) -> None:
        """See Store. Each bucket gets a mark, whose absence shows that a node has lost its data."""
        marks = (("SET", data_mark(bucket_tag(bucket)), version, "NX") for bucket in range(BUCKETS))
        await self.call(("SET", SCHEMA, version, "NX"), *marks)

    async def unguarded(self, key: str) -> bytes | None:
        """See Store."""
        return await self._routed(slot_of(key), lambda node, _: node.unguarded(key))

    async def schema(self) -> bytes | None:
        """See Store. Also None if any node has no data."""
        version = await self._routed(slot_of(SCHEMA), lambda node, _: node.schema())
        tags = {address: self._slots.tag_at(address) for address in self._slots.nodes()}
        reads = (self._node(address).unguarded(data_mark(tag)) for address, tag in tags.items() if tag)
        # Errors are ignored: of an unavailable node, or of one whose slot is moving.
        return None if None in await asyncio.gather(*reads, return_exceptions=True) else version

    def link(self, key: str) -> object:
        """See Store."""
        owner = self._slots.owners[slot_of(key)]
        return owner, None if owner is None else self._node(owner).link(key)

    def messages(self) -> PubSub:
        """See Store. Messages reach all nodes. Each call uses the next node, since the last one may be unavailable."""
        nodes = self._slots.nodes() or self.endpoint.seeds
        address = nodes[next(self._next_node) % len(nodes)]
        return self._node(address).messages()

    def connection_router(self, timeout_seconds: float) -> ConnectionRouter:
        """See Store."""
        return ClusterRouter(self.endpoint, self._slots, timeout_seconds, self.guard)

    async def _write(self, command: RawCommand, script: Script) -> object:
        return await self._routed(
            self._slot(command), lambda node, asking: node.write_once(command, script, asking=asking)
        )

    async def _routed(self, slot: int, attempt: Callable[[Store, bool], Awaitable[T]]) -> T:
        """Make an attempt on the owner of a slot, and follow redirects until the timeout.

        Raises:
            StoreUnavailableError: no node made the attempt within the timeout.
            StoreError: the error of the attempt.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.timeout_seconds
        ask_node: Address | None = None
        while True:
            owner = ask_node or self._slots.owners[slot]
            try:
                if owner is None:
                    raise UnreachableError(f"no node of the Cluster is known to have slot {slot}")
                return await attempt(self._node(owner), ask_node is not None)
            except (RedirectError, UnreachableError) as error:
                if clock() >= deadline:
                    raise
                ask_node = await self._follow(error, owner, slot)
            except (StoreUnavailableError, OutcomeUnknownError):
                self._slots.invalidate()
                raise

    async def _follow(self, error: StoreUnavailableError, owner: Address | None, slot: int) -> Address | None:
        """Learn from a refusal by `owner` where to retry; return the node of an ASK redirect, else None."""
        if isinstance(error, MovedError):
            stats.EVENTS.add("redirects")
            address = Address(error.host or (owner.host if owner else ""), error.port)
            if isinstance(error, AskError):
                return address
            if address != self._slots.owners[slot]:
                self._slots.moved(slot, address)
                return None
        elif isinstance(error, UnreachableError):
            await self._slots.refresh()
            if self._slots.owners[slot] == owner:
                raise error
            return None
        await asyncio.sleep(REDIRECT_DELAY_SECONDS)
        return None

    def _slot(self, command: RawCommand) -> int:
        """Return the slot of a command's key, or the first slot for a command that any node answers."""
        return 0 if command[0] in KEYLESS else slot_of(key_of(command))

    def _node(self, address: Address) -> Store:
        node = self._nodes.get(address)
        if node is None:
            endpoint = self.endpoint.at(address)
            node = Store(endpoint, self.timeout_seconds, self.promise, clock=self._clock, tagged=True, guard=self.guard)
            self._nodes[address] = node
        return node

    async def _all_nodes(self) -> list[Store]:
        if not self._slots.nodes():
            await self._slots.refresh()
        addresses = self._slots.nodes()
        if not addresses:
            raise UnreachableError(f"no connection to the store at {self.endpoint.address}")
        return [self._node(address) for address in addresses]

    async def close(self) -> None:
        """Close all connections."""
        self._slots.close()
        for node in self._nodes.values():
            await node.close()
        await super().close()
