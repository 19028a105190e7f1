"""The channels of an asyncio client: one for each event loop that calls, opened by its first call.

Written by hand, as is `canuse._sync.connection`: this is where the two clients differ.
"""

import asyncio
from collections.abc import Callable

import grpc

from canuse import _fork
from canuse._async.channel import Channel
from canuse._async.stubs import Stubs
from canuse.errors import closed_before_call


class Connections:
    """The channels of a client, by event loop; or the one that its caller passed in, for one loop."""

    def __init__(
        self, open_channel: Callable[[], Channel], channel: Channel | None, make_stubs: Callable[[Channel], Stubs]
    ) -> None:
        self._open_channel = open_channel
        self._make_stubs = make_stubs
        self._given = channel
        self._given_loop = None if channel is None else _running_loop()
        self._stubs: dict[asyncio.AbstractEventLoop, Stubs] = {}
        self._generation = _fork.process.generation
        self._closed = False

    def stubs(self) -> Stubs:
        """Return the stubs on the channel of the running event loop.

        RuntimeError outside of a loop, with another loop's channel, or after a fork that gRPC does not survive;
        ClientClosed after `close`.
        """
        loop = asyncio.get_running_loop()
        if self._generation == _fork.process.generation and (stubs := self._stubs.get(loop)) is not None:
            return stubs
        return self._connect(loop)

    def _connect(self, loop: asyncio.AbstractEventLoop) -> Stubs:
        if self._closed:
            raise closed_before_call()
        if self._generation != _fork.process.generation:
            _fork.abandon(self._stubs)
            self._stubs, self._generation = {}, _fork.process.generation
        _fork.before_opening(aio=True)
        for other in [other for other in self._stubs if other.is_closed()]:
            del self._stubs[other]
        channel = self._open_channel() if self._given is None else self._given_channel(self._given, loop)
        stubs = self._stubs[loop] = self._make_stubs(channel)
        return stubs

    def _given_channel(self, channel: Channel, loop: asyncio.AbstractEventLoop) -> Channel:
        if self._given_loop not in (None, loop):
            raise RuntimeError(
                "the channel of this AsyncClient belongs to another event loop: "
                "pass a target in place of the channel, and the client opens one for each loop"
            )
        self._given_loop = loop
        return channel

    def is_closed(self) -> bool:
        """Whether the client, or the channel that was passed in, is closed."""
        if self._given is None:
            return self._closed
        return self._given.get_state() is grpc.ChannelConnectivity.SHUTDOWN

    async def close(self) -> None:
        """Close the channels of all loops, except one that was passed in."""
        if self._given is not None:
            return
        self._closed = True
        opened, self._stubs = self._stubs, {}
        if self._generation != _fork.process.generation:
            _fork.abandon(opened)
            return
        for loop, stubs in opened.items():
            if loop is asyncio.get_running_loop():
                await stubs.channel.close()
            elif not loop.is_closed():
                loop.call_soon_threadsafe(_close_later, loop, stubs.channel)


def _close_later(loop: asyncio.AbstractEventLoop, channel: Channel) -> None:
    task = loop.create_task(channel.close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)


_closing: set["asyncio.Task[None]"] = set()
"""Event loops keep only weak references to their tasks."""


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
