"""Group commit: writes that need a confirmation wait while the store confirms others, and are then sent together.

While the store waits for its disk or its replicas, it answers nothing else on that connection. So these writes have a
connection of their own, and all writes of a group share one wait.
"""

import asyncio
from collections.abc import Iterable
from contextvars import Context
from typing import NamedTuple

from canuse_server.domain.durability import Durability
from canuse_server.runtime.deadline import StoreDeadline
from canuse_server.runtime.round_trips import measured
from canuse_server.store.errors import OutcomeUnknownError, StoreError, StoreUnavailableError
from canuse_server.store.redis.connection import PipelinedConnection
from canuse_server.store.redis.durability import Promise


class Written(NamedTuple):
    """The replies to some writes that arrived, and the error if some are missing or not confirmed."""

    replies: list[object]
    error: StoreError | None


class _Write(NamedTuple):
    packed: bytes
    replies: int
    tags: tuple[str, ...]
    future: "asyncio.Future[Written]"


class GroupCommit:
    """Writes on one connection with one level of durability."""

    def __init__(self, connection: PipelinedConnection, promise: Promise, level: Durability) -> None:
        self._connection = connection
        self._promise = promise
        self._level = level
        self._waiting: list[_Write] = []
        self._sender: asyncio.Task[None] | None = None

    async def execute(self, packed: bytes, count: int, tags: tuple[str, ...], deadline: StoreDeadline) -> Written:
        """Send packed commands with `count` replies; return when they are confirmed or have failed.

        `tags` are the hash tags of their keys if the server is a node of a Cluster. If the caller is cancelled before
        they are sent, they are not sent.
        """
        write = _Write(packed, count, tags, asyncio.get_running_loop().create_future())
        self._waiting.append(write)
        if self._sender is None:
            # An empty context: it sends for all callers, and must not inherit the deadline of the first one.
            self._sender = asyncio.create_task(self._send(), context=Context())
        try:
            with measured(packed) as measurement:
                async with asyncio.timeout_at(deadline.expires_at):
                    written = await write.future
                measurement.failed(written.error)
        except TimeoutError:
            if any(write is other for other in self._waiting):
                return Written([], StoreUnavailableError("the time for the store ran out before this was sent"))
            return Written([], OutcomeUnknownError("the store did not confirm the writes in time"))
        deadline.note_reply()
        return written

    async def _send(self) -> None:
        try:
            while group := [write for write in self._waiting if not write.future.done()]:
                self._waiting.clear()
                await self._send_group(group)
        finally:
            self._sender = None
            for write in self._waiting:  # Only if it was cancelled: canuse is stopping.
                write.future.cancel()

    async def _send_group(self, group: list[_Write]) -> None:
        confirmation = self._promise.confirmation(self._level, next(iter(group[0].tags), ""))
        packed = b"".join([*(write.packed for write in group), confirmation.packed])
        count = sum(write.replies for write in group)
        replies, error = await self._connection.collect(packed, count + confirmation.replies, writes=True)
        if error is None and confirmation.is_redirected(replies[count:]):
            tags = dict.fromkeys(tag for write in group for tag in write.tags)
            confirmed, error = await self._confirm_by_another_key(tags)
            replies[count:] = confirmed or replies[count:]
        error = error or confirmation.error(replies[count:])
        start = 0
        for write in group:
            if not write.future.done():
                write.future.set_result(Written(replies[start : min(start + write.replies, count)], error))
            start += write.replies

    async def _confirm_by_another_key(self, tags: Iterable[str]) -> tuple[list[object], StoreError | None]:
        """Confirm the writes with the first of some hash tags whose slot this node still owns."""
        replies: list[object] = []
        for tag in tags:
            confirmation = self._promise.confirmation(self._level, tag)
            replies, error = await self._connection.collect(confirmation.packed, confirmation.replies, writes=True)
            if error is not None or not confirmation.is_redirected(replies):
                return replies, error
        return replies, None

    def close(self) -> None:
        """Close the connection. Waiting writes end with an unknown outcome."""
        self._connection.close()
