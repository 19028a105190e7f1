"""A blocking connection for one thread: sends a batch of commands with one write and reads the replies in order."""

import select
import socket
import struct
import time
from contextlib import suppress
from typing import Final

import hiredis

from canuse_server.store.errors import StoreError, UnreachableError
from canuse_server.store.redis import stats
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.brief_poll import BriefPoll
from canuse_server.store.redis.sentinel import MasterResolver

RECONNECT_DELAY_SECONDS: Final = 0.5
"""Time after a timeout during which no new connection is opened."""
READ_BYTES: Final = 1 << 18
TIMEOUT_TOLERANCE_SECONDS: Final = 0.02
"""Accepted difference between the socket's timeout and the remaining time; each update costs a system call."""
_NOT_SET: Final = -1.0
_TIMEVAL: Final = struct.Struct("ll")
_NOT_ENOUGH: Final = object()


class BlockingConnection:
    """One connection of one thread. After an error it is closed; `connect` opens a new one."""

    def __init__(self, endpoint: StoreAddress | MasterResolver, timeout_seconds: float) -> None:
        self._master = endpoint if isinstance(endpoint, MasterResolver) else MasterResolver(endpoint, timeout_seconds)
        self._at: StoreAddress | None = None
        self._retired = False
        self._paused_until = 0.0
        self._timeout_seconds = timeout_seconds
        self._socket: socket.socket | None = None
        self._given_up = False
        self._reader = hiredis.Reader(notEnoughData=_NOT_ENOUGH)
        self._poll = select.poll()
        self._brief_poll = BriefPoll(self._poll)
        self._socket_timeout = _NOT_SET
        self.deadline = 0.0
        """The deadline of the current batch, by `time.monotonic`."""
        self.polls = False
        """Whether to poll for replies before waiting for them. It takes CPU time that other calls may need."""

    def begin(self) -> float:
        """Start the timeout of a batch; return its deadline."""
        self.deadline = time.monotonic() + self._timeout_seconds
        return self.deadline

    def _remaining(self) -> float:
        """Return the time until the deadline in seconds; raise TimeoutError if it has passed."""
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        return remaining

    def _limit_next_call(self) -> None:
        """Limit the next call to the socket to the remaining time; raise TimeoutError if there is none."""
        remaining = self._remaining()
        if abs(remaining - self._socket_timeout) > TIMEOUT_TOLERANCE_SECONDS:
            self._set_socket_timeout(remaining)

    def _set_socket_timeout(self, seconds: float) -> None:
        assert self._socket is not None
        self._socket_timeout = seconds
        if self._socket.gettimeout() is None:
            # One microsecond more, since 0 means no limit.
            limit = _TIMEVAL.pack(*divmod(int(seconds * 1_000_000) + 1, 1_000_000))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        else:
            self._socket.settimeout(seconds)

    def make_ready(self, *, idle: bool) -> None:
        """Connect unless connected. `idle`: no reply is due, so a stale connection is replaced.

        Raises:
            StoreUnavailableError: the store does not answer or refuses the handshake, or its data is gone.
        """
        self._master.guard.check()
        # While replies are due, readable data does not mean that the store has closed the connection.
        if idle and self.is_stale():
            self.close()
        self.connect()

    def connect(self) -> None:
        """Connect unless connected.

        Raises:
            StoreUnavailableError: the store does not answer or refuses the handshake.
        """
        if self._socket is not None:
            return
        if self._given_up:
            raise UnreachableError("canuse is stopping")
        if time.monotonic() < self._paused_until:
            raise UnreachableError("the store did not answer in time a moment ago")
        try:
            endpoint = self._at = self._master.endpoint
            if endpoint is None:
                raise UnreachableError("no Sentinel has reported the master yet")
            self._socket = self._open(endpoint)
            self._socket_timeout = _NOT_SET
            self._reader = hiredis.Reader(notEnoughData=_NOT_ENOUGH)
            self._poll = select.poll()
            self._brief_poll = BriefPoll(self._poll)
            self._poll.register(self._socket, select.POLLIN)
            if self._given_up:
                raise UnreachableError("canuse is stopping")
            if endpoint.handshake_replies:
                self._socket.sendall(endpoint.handshake)
                endpoint.check_handshake([self.receive() for _ in range(endpoint.handshake_replies)])
            stats.EVENTS.add("connections_opened")
        except (OSError, StoreError) as error:
            self.abort(error)
            stats.EVENTS.add("connection_failures")
            raise UnreachableError(f"no connection to the store at {self._master.address}: {error}") from error

    def _open(self, endpoint: StoreAddress) -> socket.socket:
        if endpoint.path is not None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(self._remaining())
            connection.connect(endpoint.path)
        else:
            connection = socket.create_connection((endpoint.host, endpoint.port), self._remaining())
            connection.settimeout(self._remaining())
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if endpoint.tls is not None:
                return endpoint.tls.wrap_socket(connection, server_hostname=endpoint.host)
        # From here on the kernel enforces the timeout: with Python's, each read and write needs one more system call.
        connection.settimeout(None)
        return connection

    def send(self, packed: bytes) -> None:
        """Send packed commands.

        Raises:
            OSError: the connection broke or timed out; some of the commands may have been sent.
        """
        assert self._socket is not None
        unsent = memoryview(packed)
        try:
            while unsent:
                self._limit_next_call()
                unsent = unsent[self._socket.send(unsent) :]
        except BlockingIOError as error:
            raise TimeoutError("timed out") from error

    def receive(self) -> object:
        """Return the next reply; an error reply is a value.

        Raises:
            OSError: the connection broke or timed out; no further reply arrives.
        """
        assert self._socket is not None
        while (reply := self._reader.gets()) is _NOT_ENOUGH:
            self._limit_next_call()
            if self.polls:
                self._brief_poll.wait()
            try:
                data = self._socket.recv(READ_BYTES)
            except BlockingIOError as error:
                raise TimeoutError("timed out") from error
            if not data:
                if self._given_up:
                    raise TimeoutError("canuse is stopping")
                raise ConnectionResetError("closed by the store")
            self._reader.feed(data)
        return reply

    def is_stale(self) -> bool:
        """Whether an idle connection must not be used: the store closed it, or the server is no longer the master."""
        # An idle connection waits for no reply, so readable data can only be the end of the stream.
        return self._socket is not None and (self.is_outdated() or bool(self._poll.poll(0)))

    def is_outdated(self) -> bool:
        """Whether the server is no longer the master: close the connection after the replies that are due."""
        return self._retired or (self._socket is not None and self._at is not self._master.endpoint)

    def retire(self) -> None:
        """Note that the server reported that it is no longer the master."""
        self._retired = True

    def abort(self, error: BaseException) -> None:
        """Close the connection because of an error. After a timeout, calls are refused for RECONNECT_DELAY_SECONDS.

        Otherwise waiting calls would time out one after the other.
        """
        self.close()
        if isinstance(error, TimeoutError):
            self._paused_until = time.monotonic() + RECONNECT_DELAY_SECONDS

    def give_up(self) -> None:
        """End all waits on the connection, from another thread. It cannot be used afterwards."""
        self._given_up = True
        if (connection := self._socket) is not None:
            with suppress(OSError):  # It is already closed.
                # The method of the base class: that of an SSL socket would also remove its TLS layer.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; replies that are due are lost."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._retired = False
