"""An auto-pipelining connection: commands of all calls in one tick of the event loop are sent with one write.

Replies arrive in the order of the commands, so the waiters form a queue. A cancelled waiter still consumes its replies,
and a broken connection fails all its waiters, so no waiter ever gets the reply of another.
"""

import asyncio
import math
from collections import deque
from typing import Final, cast

import hiredis

from canuse_server.runtime.call_state import current_store_deadline
from canuse_server.runtime.deadline import StoreDeadline
from canuse_server.runtime.round_trips import measured
from canuse_server.store.errors import OutcomeUnknownError, StoreError, StoreUnavailableError, UnreachableError
from canuse_server.store.redis import stats
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.sentinel import MasterResolver

TIMER_TOLERANCE_SECONDS: Final = 0.01
"""Accepted inaccuracy of timers and of the time at which a call was sent."""


class _Waiter:
    """A call that waits for its replies."""

    __slots__ = ("expires_at", "future", "missing", "replies", "sent", "writes")

    def __init__(self, future: "asyncio.Future[list[object]]", count: int, writes: bool) -> None:
        self.future = future
        self.missing = count
        self.replies: list[object] = []
        self.writes = writes
        self.sent = False
        self.expires_at = math.inf
        """The time at which the call gets a TimeoutError, on the loop's clock."""

    def fail(self, cause: str) -> None:
        if self.future.done():
            return
        lost = self.writes and self.sent
        self.future.set_exception(OutcomeUnknownError(cause) if lost else StoreUnavailableError(cause))


class _Wire(asyncio.Protocol):
    """The socket of one connection, and the queue of its waiters."""

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoint: StoreAddress) -> None:
        self._loop = loop
        self.endpoint = endpoint
        self._reader = hiredis.Reader(notEnoughData=_NOT_ENOUGH)
        self._waiters: deque[_Waiter] = deque()
        self._buffer: list[bytes] = []
        self._unsent: list[_Waiter] = []
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.open = True
        self.retired = False
        """Whether the server is no longer the master: no new commands are sent to it."""
        self.heard_at = loop.time()
        """The time of the last data from the store on the loop's clock; initially, of opening."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def now(self) -> float:
        """Return the time on the loop's clock."""
        return self._loop.time()

    def send(self, packed: bytes, count: int, *, writes: bool) -> _Waiter:
        """Queue packed commands with `count` replies; return the waiter for them."""
        assert count > 0, "a waiter without replies would take those of the next"
        if not self.open:
            raise StoreUnavailableError("the connection to the store broke before anything was sent")
        waiter = _Waiter(self._loop.create_future(), count, writes)
        self._waiters.append(waiter)
        if not self._buffer:
            self._loop.call_soon(self._flush)
        self._buffer.append(packed)
        self._unsent.append(waiter)
        return waiter

    def expire_at(self, waiter: _Waiter, when: float) -> None:
        """Raise TimeoutError in a call at a time on the loop's clock, unless its replies have arrived by then.

        One timer serves all calls, since a call that takes 20 us would spend 3 on one of its own.
        """
        waiter.expires_at = when
        if self._timer is None or when < self._timer.when():
            self._set_timer(when)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when == math.inf else self._loop.call_at(when, self._expire)

    def _expire(self) -> None:
        now, earliest = self.now(), math.inf
        for waiter in self._waiters:
            if waiter.future.done():
                continue
            if waiter.expires_at <= now:
                waiter.future.set_exception(TimeoutError())
            else:
                earliest = min(earliest, waiter.expires_at)
        self._set_timer(earliest)

    def _flush(self) -> None:
        if not self.open or self._transport is None:
            return
        for waiter in self._unsent:
            waiter.sent = True
        self._transport.write(b"".join(self._buffer))
        self._buffer.clear()
        self._unsent.clear()

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _NOT_ENOUGH:
                if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("READONLY"):
                    self.retire()
                waiter = self._waiters[0]
                waiter.replies.append(reply)
                waiter.missing -= 1
                if not waiter.missing:
                    self._waiters.popleft()
                    if not waiter.future.done():
                        waiter.future.set_result(waiter.replies)
        except (hiredis.ProtocolError, IndexError) as error:
            self.close(f"the store sent an invalid reply: {error}")
        if self.retired and self.open:
            self.retire()

    def retire(self) -> None:
        """Send no new commands, and close the connection after the last reply."""
        self.retired = True
        if not self._waiters:
            self.close("the server is no master any more")

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(f"the connection to the store broke: {exc or 'closed by the store'}")

    def close(self, cause: str) -> None:
        """Close the connection at once and fail all waiters."""
        self.open = False
        self._set_timer(math.inf)
        if self._transport is not None:
            self._transport.abort()
        while self._waiters:
            self._waiters.popleft().fail(cause)


_NOT_ENOUGH = object()


class PipelinedConnection:
    """A connection that all calls of an event loop share. It opens on first use, and again after it broke.

    It leads to the server at an address, or to the current master.
    """

    def __init__(self, endpoint: StoreAddress | MasterResolver, timeout_seconds: float) -> None:
        self._master = endpoint if isinstance(endpoint, MasterResolver) else MasterResolver(endpoint, timeout_seconds)
        self._timeout_seconds = timeout_seconds
        self._silence = f"the store did not answer in {timeout_seconds} s"
        self._wire: _Wire | None = None
        self.opened = 0
        """Number of times it was opened. Data of an earlier connection can be of another history of the store."""
        self._connecting: asyncio.Task[_Wire] | None = None
        self._round_trips = stats.ROUND_TRIPS.own("loop")

    async def execute(self, packed: bytes, count: int, *, writes: bool, guarded: bool = True) -> list[object]:
        """Send packed commands and return their `count` replies; error replies are values.

        Connecting and waiting end at the call's deadline. If not `guarded`, the data guard does not apply.

        Raises:
            StoreUnavailableError: nothing was written.
            OutcomeUnknownError: with `writes`, the commands were sent and no reply came.
        """
        deadline = current_store_deadline(self._timeout_seconds)
        if guarded:
            self._master.guard.check()
        with measured(packed):
            wire = self._usable_wire(deadline) or await self._connect_in_time(deadline)
            since = wire.now()
            waiter = wire.send(packed, count, writes=writes)
            wire.expire_at(waiter, min(deadline.expires_at, since + self._timeout_seconds))
            try:
                replies = await waiter.future
            except TimeoutError:
                self._give_up_on(wire, since)
                raise (OutcomeUnknownError if writes else StoreUnavailableError)(self._silence) from None
        now = wire.now()
        deadline.note_reply(now)
        self._round_trips.observe(now - since)
        return replies

    async def collect(self, packed: bytes, count: int, *, writes: bool) -> tuple[list[object], StoreError | None]:
        """Send many packed commands; return the replies that arrived, and the error if some are missing.

        The timeout starts again whenever some of the replies arrive.
        """
        replies: list[object] = []
        deadline = current_store_deadline(self._timeout_seconds)
        try:
            self._master.guard.check()
            with measured(packed):
                wire = self._usable_wire(deadline) or await self._connect_in_time(deadline)
                waiter = wire.send(packed, count, writes=writes)
                replies = waiter.replies
                await self._wait(waiter, wire, deadline)
                return await waiter.future, None
        except StoreError as error:
            # A copy: replies that arrive later must not change the result.
            return list(replies), error

    async def _wait(self, waiter: _Waiter, wire: _Wire, deadline: StoreDeadline) -> None:
        """Wait until a call is done, or fail it after its timeout without a reply."""
        future, since = waiter.future, wire.now()
        try:
            while not future.done():
                await asyncio.wait([future], timeout=deadline.expires_at - wire.now())
                if wire.heard_at > since:
                    deadline.note_reply(wire.heard_at)
                if not future.done() and wire.now() >= deadline.expires_at:
                    self._give_up_on(wire, since)
                    waiter.fail(self._silence)
        finally:
            future.cancel()  # If it is not done, the caller was cancelled, and nobody reads its result.

    def _give_up_on(self, wire: _Wire, since: float) -> None:
        """Close a connection without data for the whole timeout. A call with less time leaves it open for others."""
        if wire.now() - max(since, wire.heard_at) >= self._timeout_seconds - TIMER_TOLERANCE_SECONDS:
            # Replies arrive in order, so the other waiters on this connection get none either.
            wire.close(self._silence)

    def _usable_wire(self, deadline: StoreDeadline) -> _Wire | None:
        """Return the open connection to the current master, if there is one."""
        if deadline.has_passed():
            raise StoreUnavailableError("the time for the store ran out before this was sent")
        wire = self._wire
        if wire is not None and wire.open and not wire.retired:
            if self._master.is_at(wire.endpoint):
                return wire
            wire.retire()
        return None

    async def _connect_in_time(self, deadline: StoreDeadline) -> _Wire:
        try:
            async with asyncio.timeout_at(deadline.expires_at):
                return await self._connect()
        except TimeoutError:
            raise UnreachableError(f"no connection to the store in {self._timeout_seconds} s") from None

    async def _connect(self) -> _Wire:
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._open())
            self._connecting.add_done_callback(self._connected)
        # Shielded: other callers may wait for the same attempt.
        return await asyncio.shield(self._connecting)

    def _connected(self, task: "asyncio.Task[_Wire]") -> None:
        self._connecting = None
        if not task.cancelled() and task.exception() is None:
            self._wire = task.result()
            self.opened += 1
            stats.EVENTS.add("connections_opened")
        elif not task.cancelled():
            stats.EVENTS.add("connection_failures")

    async def _open(self) -> _Wire:
        loop = asyncio.get_running_loop()
        wire: _Wire | None = None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                endpoint = await self._master.resolve()
                wire = opening = _Wire(loop, endpoint)
                if endpoint.path is not None:
                    await loop.create_unix_connection(lambda: opening, endpoint.path)
                else:
                    await loop.create_connection(lambda: opening, endpoint.host, endpoint.port, ssl=endpoint.tls)
                if endpoint.handshake_replies:
                    waiter = wire.send(endpoint.handshake, endpoint.handshake_replies, writes=False)
                    endpoint.check_handshake(await waiter.future)
        except (OSError, TimeoutError, StoreError) as error:
            self._master.invalidate()
            if wire is not None:
                wire.close("the handshake failed")
            raise UnreachableError(f"no connection to the store at {self._master.address}: {error}") from error
        return wire

    def close(self) -> None:
        """Close the connection. Another call would open it again."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._wire is not None:
            self._wire.close("canuse is stopping")
