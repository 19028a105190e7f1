"""A TCP relay in front of a server, to inject faults: replies that do not arrive, connections that break."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from support.processes import Canuse, RedisServer

READ_BYTES = 1 << 16


class Relay:
    """Passes bytes between clients and a loopback port, on the event loop it was opened in."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream = ("127.0.0.1", upstream_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._connections: set[asyncio.Task[None]] = set()
        self._pairs: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._requests = _open_event()
        self._replies = _open_event()
        self._blackholed: list[asyncio.Event] = []
        self._drop_trigger: bytes | None = None
        self._dropping: set[asyncio.StreamWriter] = set()
        self._accepted: set[socket.socket] = set()
        """All sockets of clients: a task that is cancelled before it starts closes nothing."""
        self._awaited: list[tuple[bytes, asyncio.Event]] = []
        self.request_bytes = 0
        self.delay_seconds = 0.0
        """Delay of every reply."""
        self.lost_replies = 0
        """Number of replies that `drop_reply_to` has dropped."""

    @classmethod
    @asynccontextmanager
    async def to(cls, upstream_port: int) -> AsyncIterator["Relay"]:
        """Open a relay to a port; it is closed afterwards."""
        relay = cls(upstream_port)
        loop = asyncio.get_running_loop()
        loop.add_reader(relay._listener, relay._accept)
        try:
            yield relay
        finally:
            loop.remove_reader(relay._listener)
            relay._listener.close()
            relay.cut()
            for task in relay._connections:
                task.cancel()
            await asyncio.gather(*relay._connections, return_exceptions=True)
            await asyncio.sleep(0)
            for connection in relay._accepted:
                connection.close()

    @property
    def port(self) -> int:
        """Where clients connect."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Where clients of Redis connect."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._pairs)

    def redirect_to(self, host: str, port: int) -> None:
        """Connect to another server from now on, and break the existing connections."""
        self._upstream = (host, port)
        self.cut()

    def hold_replies(self) -> None:
        """Pass requests and hold replies back."""
        self._replies.clear()

    def hold_requests(self) -> None:
        """Hold requests back."""
        self._requests.clear()

    def release(self) -> None:
        """Pass everything again, first what was held back."""
        for may_pass in (self._requests, self._replies, *self._blackholed):
            may_pass.set()

    def blackhole(self) -> None:
        """Pass nothing more on the existing connections, without breaking them; new ones work."""
        self._requests.clear()
        self._replies.clear()
        self._blackholed += [self._requests, self._replies]
        self._requests, self._replies = _open_event(), _open_event()

    def cut(self) -> None:
        """Break every connection on both sides; what was held back on them is lost."""
        for pair in self._pairs.items():
            for writer in pair:
                writer.transport.abort()

    def drop_reply_to(self, word: bytes) -> None:
        """Pass the next request that contains a word, and break its connection when the reply has arrived.

        The reply is lost, for every call that waits on that connection. Requests that arrive in parts may go unnoticed.
        """
        self._drop_trigger = word

    def request_with(self, word: bytes) -> asyncio.Event:
        """Return what is set once a request with a word has come."""
        event = asyncio.Event()
        self._awaited.append((word, event))
        return event

    def send_to_clients(self, data: bytes) -> None:
        """Send clients bytes that the server has not sent."""
        for client in self._pairs:
            client.write(data)

    def _accept(self) -> None:
        # Not an asyncio.Server or `sock_accept`: a connection that arrives while one is being closed stays open, until
        # the garbage collector warns of it.
        with suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            self._accepted.add(connection)
            task = asyncio.create_task(self._serve(connection))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _serve(self, connection: socket.socket) -> None:
        reader, client = await asyncio.open_connection(sock=connection)
        try:
            answers, server = await asyncio.open_connection(*self._upstream)
        except (OSError, asyncio.CancelledError):
            client.transport.abort()
            return
        self._pairs[client] = server
        ways = (self._pump(reader, server, self._requests, server), self._pump(answers, client, self._replies, server))
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            # When one side closes, so does the other, even if something is held back on its way there.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            del self._pairs[client]
            self._dropping.discard(server)
            client.close()
            server.close()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        may_pass: asyncio.Event,
        server: asyncio.StreamWriter,
    ) -> None:
        try:
            while data := await source.read(READ_BYTES):
                if may_pass is self._requests:
                    self.request_bytes += len(data)
                    for word, event in self._awaited:
                        if word in data:
                            event.set()
                    if self._drop_trigger is not None and self._drop_trigger in data:
                        self._drop_trigger = None
                        self._dropping.add(server)
                elif server in self._dropping:
                    self.lost_replies += 1
                    return
                elif self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                await may_pass.wait()
                target.write(data)
                await target.drain()
        except OSError:
            return


def _open_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@asynccontextmanager
async def server_behind_relay(
    transport: str, folder: Path, redis: RedisServer, *, database: str = "0", **env: str
) -> AsyncIterator[tuple[Canuse, Relay]]:
    """Run a server with a relay between it and its store."""
    async with Relay.to(redis.port) as relay:
        canuse = Canuse(folder, "--transport", transport, "--redis-url", f"{relay.url}/{database}", env=env)
        await asyncio.to_thread(canuse.start)
        try:
            yield canuse, relay
        finally:
            relay.release()
            await asyncio.to_thread(canuse.stop)
