"""A blocking connection for one thread that sends whole batches: many commands in one write, their replies in order."""

import select
import socket
import time
from typing import Final

import hiredis

from canuse_server.store.endpoint import Endpoint
from canuse_server.store.errors import StoreError, StoreUnavailableError
from canuse_server.store.replies import check

READ_BYTES: Final = 1 << 18
GENEROUS_SECONDS: Final = 0.02
"""How much longer than is left the socket may wait: to tell it each time would cost a system call."""
_NOT_ENOUGH: Final = object()


class LaneConnection:
    """One connection of one thread. After an error it is closed; `connect` opens a new one."""

    def __init__(self, endpoint: Endpoint, timeout_seconds: float) -> None:
        self._endpoint = endpoint
        self._timeout_seconds = timeout_seconds
        self._socket: socket.socket | None = None
        self._reader = hiredis.Reader(notEnoughData=_NOT_ENOUGH)
        self._poll = select.poll()
        self.ends = self._told = 0.0
        """Up to when it takes its time, by `time.monotonic`."""

    def begin(self) -> float:
        """Start the time that all that is done from now on may take; return when it ends."""
        self.ends = time.monotonic() + self._timeout_seconds
        return self.ends

    def _left(self) -> float:
        """Return how much of the time is left.

        Raises:
            TimeoutError: nothing is.
        """
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def _hurry(self) -> None:
        """Let the next call to the socket take what is left of the time; raises TimeoutError where nothing is."""
        assert self._socket is not None
        left = self._left()
        if abs(left - self._told) > GENEROUS_SECONDS:
            self._socket.settimeout(left)
            self._told = left

    def connect(self) -> None:
        """Connect unless it is connected.

        Raises:
            StoreUnavailableError: the store does not answer or does not let us in.
        """
        if self._socket is not None:
            return
        try:
            self._socket = self._open()
            self._told = 0.0
            self._reader = hiredis.Reader(notEnoughData=_NOT_ENOUGH)
            self._poll = select.poll()
            self._poll.register(self._socket, select.POLLIN)
            if self._endpoint.greeting_replies:
                self._socket.sendall(self._endpoint.greeting)
                for _ in range(self._endpoint.greeting_replies):
                    check(self.receive())
        except (OSError, StoreError) as error:
            self.close()
            address = self._endpoint.address
            raise StoreUnavailableError(f"no connection to the store at {address}: {error}") from error

    def _open(self) -> socket.socket:
        endpoint = self._endpoint
        if endpoint.path is not None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(self._left())
            connection.connect(endpoint.path)
            return connection
        connection = socket.create_connection((endpoint.host, endpoint.port), self._left())
        connection.settimeout(self._left())
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if endpoint.tls is not None:
            return endpoint.tls.wrap_socket(connection, server_hostname=endpoint.host)
        return connection

    def send(self, packed: bytes) -> None:
        """Send packed commands.

        Raises:
            OSError: the connection broke or the time is over; some of them may have been sent.
        """
        assert self._socket is not None
        self._hurry()
        self._socket.sendall(packed)

    def receive(self) -> object:
        """Return the next reply; an error that the store answered is a value.

        Raises:
            OSError: the connection broke or the time is over; no further reply will come.
        """
        assert self._socket is not None
        while (reply := self._reader.gets()) is _NOT_ENOUGH:
            self._hurry()
            data = self._socket.recv(READ_BYTES)
            if not data:
                raise ConnectionResetError("closed by the store")
            self._reader.feed(data)
        return reply

    def is_stale(self) -> bool:
        """Whether the store has closed a connection that is idle now, so that nothing should be sent on it."""
        # No reply is due while it is idle, so what can be read can only be the end. (A peek with MSG_DONTWAIT would
        # wait for the socket's timeout all the same: Python polls before it reads.)
        return self._socket is not None and bool(self._poll.poll(0))

    def close(self) -> None:
        """Close it; what was under way is lost."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
