"""The server of the HTTP port: uvicorn's connections, in the event loop of the gRPC server.

uvicorn's own server is not used: it takes the process's signals, and looks ten times a second whether it has to end.
"""

import asyncio
import logging
import socket
import ssl
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp
from uvicorn.config import Config

from canuse_server.transport.http.connection import HEAD_BYTES, HEAD_SECONDS, IDLE_SECONDS, Connection, Connections
from canuse_server.transport.shutdown import Deadline

BACKLOG: Final = 2048


def bind(listen: str, *, share_port: bool) -> socket.socket:
    """Return a socket on an address; raises OSError. `share_port`: other processes serve on the same port."""
    host, _, port = listen.rpartition(":")
    # As `socket.create_server` does, but with the protocol named: without it asyncio leaves Nagle's algorithm on, and
    # the second part of an answer waits some 40 ms for the caller to acknowledge the first.
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share_port:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if found.family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.bind((host.strip("[]"), int(port)))
        found.listen(BACKLOG)
    except BaseException:
        found.close()
        raise
    return found


class HttpServer:
    """Answers requests with an ASGI application."""

    def __init__(self, app: ASGIApp, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        self._connections = Connections()
        self._listening = listening
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._config = Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
        self._config.load()
        # It has a line for everything that strangers send. What fails here is logged by the guards.
        logging.getLogger("uvicorn.error").disabled = True

    @property
    def address(self) -> str:
        """Where it is reached: a URL without a path."""
        host, port, *_ = self._listening.getsockname()
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    @property
    def connection_count(self) -> int:
        """Number of open connections."""
        return len(self._connections.state.connections)

    async def start(self) -> None:
        """Accept connections."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._config, self._connections),
            sock=self._listening,
            ssl=self._tls,
            ssl_handshake_timeout=None if self._tls is None else HEAD_SECONDS,
            backlog=BACKLOG,
        )

    def begin_to_end(self) -> None:
        """Accept nothing more, close what is idle, and let the others end with their answers."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections.state.connections):
            connection.shutdown()

    async def end(self, grace: Deadline) -> None:
        """Wait for the answers under way as long as there is time, then cut them off."""
        if self._server is not None:
            self._server.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._connections.none_left.wait(), grace.remaining())
        state = self._connections.state
        for connection in list(state.connections):
            connection.transport.abort()
        tasks = list(state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listening.close()
