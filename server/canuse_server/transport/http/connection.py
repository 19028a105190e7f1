"""Connections of callers, bounded in number and in time: uvicorn alone waits for a slow one for ever."""

import asyncio
import json
from typing import Final

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from canuse_server.transport.http.guards import SECURITY_HEADERS

MAX_CONNECTIONS: Final = 1024
"""The most connections of a process. For one more, the one that has waited longest for its caller is closed."""
HEAD_SECONDS: Final = 10
"""How long a request may take to send its head."""
BODY_SECONDS: Final = 30
"""How long it may take to send its body."""
STALLED_SECONDS: Final = 30
"""How long a caller may leave an answer that is ready without taking more of it."""
IDLE_SECONDS: Final = 75
"""How long a connection without a request is kept: longer than common proxies keep theirs, so that they close first."""
HEAD_BYTES: Final = 64 << 10
"""The largest head that is read, so that it can be said of what there is too much."""
_BAD_REQUEST: Final = json.dumps({"code": "invalid_argument", "message": "this is not a valid HTTP/1.1 request"})


class Connections:
    """The connections of a process."""

    def __init__(self, max_connections: int = MAX_CONNECTIONS) -> None:
        self._max = max_connections
        self.state = ServerState()
        self._waiting: dict[Connection, None] = {}
        self.none_left = asyncio.Event()
        self.none_left.set()

    def add(self, newest: "Connection") -> None:
        """Note a new one. Where there are too many, the one that has waited longest for its caller is closed, else the
        newest. Callers who send a body or take an answer make theirs wait less long than those who attack.
        """
        self.none_left.clear()
        if len(self.state.connections) > self._max:
            (next(iter(self._waiting), None) or newest).transport.abort()

    def remove(self, connection: "Connection") -> None:
        """Note that a connection is closed."""
        self.mark(connection, waits=False)
        if not self.state.connections:
            self.none_left.set()

    def mark(self, connection: "Connection", *, waits: bool) -> None:
        """Note whether a connection waits for its caller: for a request or its body, or until an answer is taken."""
        if waits:
            self._waiting.setdefault(connection)
        else:
            self._waiting.pop(connection, None)


class Connection(H11Protocol):
    """A connection with a caller: it waits for a head, then for a body, each so long and no longer."""

    def __init__(self, config: Config, connections: Connections) -> None:
        super().__init__(config, connections.state, {})
        self._all = connections
        self._timer: asyncio.TimerHandle | None = None
        self._waits_for: object = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        # So that an answer of any length that the caller leaves is noticed, also while the connection is closed.
        transport.set_write_buffer_limits(high=1)
        self._all.add(self)
        self._all.mark(self, waits=True)
        self._wait(h11.IDLE, HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._wait(None, 0)
        self.resume_writing()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._all.remove(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.conn.their_state is h11.IDLE:
            self._wait(h11.IDLE, HEAD_SECONDS)
        super().data_received(data)

    def handle_events(self) -> None:
        """Read what has come."""
        before = self.conn.their_state
        super().handle_events()
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            self._wait(state, BODY_SECONDS)
        elif state is not h11.IDLE:
            self._wait(None, 0)
        if state is not before:
            self._all.mark(self, waits=False)  # Its wait begins anew.
        self._mark()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._mark()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, if that can still be done, and close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [*SECURITY_HEADERS, ("content-type", "application/json"), ("connection", "close")]
            answer = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
            for event in (answer, h11.Data(data=_BAD_REQUEST.encode()), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)
            self._mark()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
            self._mark()

    def _mark(self) -> None:
        waits = self.conn.their_state in (h11.IDLE, h11.SEND_BODY) or self._stalled is not None
        self._all.mark(self, waits=waits and self in self.connections)

    def _wait(self, state: object, seconds: float) -> None:
        """Close the connection unless it gets beyond a state in so many seconds, from when it was first in it."""
        if state is self._waits_for:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._waits_for = state
        self._timer = None if state is None else self.loop.call_later(seconds, self.transport.abort)
