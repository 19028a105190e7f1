"""A blocking connection for one thread that sends whole batches: many commands in one write, their replies in order."""

import select
import socket
import struct
import time
from contextlib import suppress
from typing import Final

import hiredis

from canuse_server.store.errors import StoreError, UnreachableError
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.sentinel import MasterResolver

RECONNECT_DELAY_SECONDS: Final = 0.5
"""How long a store that did not answer in time is not asked."""
READ_BYTES: Final = 1 << 18
SLOW_CONNECT_SECONDS: Final = 0.02
"""How much longer than is left the socket may wait: to tell it each time would cost a system call."""
_NEVER_TOLD: Final = -1.0
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
        self._told = _NEVER_TOLD
        self.ends = 0.0
        """Up to when it takes its time, by `time.monotonic`."""

    def begin(self) -> float:
        """Start the time that all that is done from now on may take; return when it ends."""
        self.ends = time.monotonic() + self._timeout_seconds
        return self.ends

    def _left(self) -> float:
        """Return how much of the time is left; raise TimeoutError where nothing is."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def _hurry(self) -> None:
        """Let the next call to the socket take what is left of the time; raise TimeoutError where nothing is."""
        left = self._left()
        if abs(left - self._told) > SLOW_CONNECT_SECONDS:
            self._tell(left)

    def _tell(self, seconds: float) -> None:
        """Let calls to the socket take so long from now on."""
        assert self._socket is not None
        self._told = seconds
        if self._socket.gettimeout() is None:
            # One microsecond more: none at all would be no limit.
            limit = _TIMEVAL.pack(*divmod(int(seconds * 1_000_000) + 1, 1_000_000))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        else:
            self._socket.settimeout(seconds)

    def make_ready(self, *, idle: bool) -> None:
        """Connect unless it is connected; `idle`: no reply is due, so that one which is stale can be left.

        Raises:
            StoreUnavailableError: the store does not answer or does not let us in, or its data is gone.
        """
        self._master.guard.check()
        # While replies are due nobody can tell whether the store has closed it.
        if idle and self.is_stale():
            self.close()
        self.connect()

    def connect(self) -> None:
        """Connect unless it is connected.

        Raises:
            StoreUnavailableError: the store does not answer or does not let us in.
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
                raise UnreachableError("no Sentinel has said yet where the master is")
            self._socket = self._open(endpoint)
            self._told = _NEVER_TOLD
            self._reader = hiredis.Reader(notEnoughData=_NOT_ENOUGH)
            self._poll = select.poll()
            self._poll.register(self._socket, select.POLLIN)
            if self._given_up:
                raise UnreachableError("canuse is stopping")
            if endpoint.handshake_replies:
                self._socket.sendall(endpoint.handshake)
                endpoint.check_handshake([self.receive() for _ in range(endpoint.handshake_replies)])
        except (OSError, StoreError) as error:
            self.break_off(error)
            raise UnreachableError(f"no connection to the store at {self._master.address}: {error}") from error

    def _open(self, endpoint: StoreAddress) -> socket.socket:
        if endpoint.path is not None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(self._left())
            connection.connect(endpoint.path)
        else:
            connection = socket.create_connection((endpoint.host, endpoint.port), self._left())
            connection.settimeout(self._left())
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if endpoint.tls is not None:
                return endpoint.tls.wrap_socket(connection, server_hostname=endpoint.host)
        # From here on the kernel watches the time: Python would ask it before each read and write whether it is ready.
        connection.settimeout(None)
        return connection

    def send(self, packed: bytes) -> None:
        """Send packed commands.

        Raises:
            OSError: the connection broke or the time is over; some of them may have been sent.
        """
        assert self._socket is not None
        rest = memoryview(packed)
        try:
            while rest:
                self._hurry()
                rest = rest[self._socket.send(rest) :]
        except BlockingIOError as error:
            raise TimeoutError("timed out") from error

    def receive(self) -> object:
        """Return the next reply; an error that the store answered is a value.

        Raises:
            OSError: the connection broke or the time is over; no further reply will come.
        """
        assert self._socket is not None
        while (reply := self._reader.gets()) is _NOT_ENOUGH:
            self._hurry()
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
        """Whether nothing should be sent on a connection that is idle now: the store closed it, or it is to be left."""
        # No reply is due while it is idle, so what can be read can only be the end.
        return self._socket is not None and (self.is_to_be_left() or bool(self._poll.poll(0)))

    def is_to_be_left(self) -> bool:
        """Whether the server is no master any more: once the replies have come that are due, it has to be closed."""
        return self._retired or (self._socket is not None and self._at is not self._master.endpoint)

    def retire(self) -> None:
        """Take note that the server said it is no master any more."""
        self._retired = True

    def break_off(self, error: BaseException) -> None:
        """Close it because of an error. After a time-out it does not connect for a while: calls are refused at once.

        Else calls that wait for it would wait one after the other.
        """
        self.close()
        if isinstance(error, TimeoutError):
            self._paused_until = time.monotonic() + RECONNECT_DELAY_SECONDS

    def give_up(self) -> None:
        """From another thread: let whoever waits for it wait no longer. It can't be used any more."""
        self._given_up = True
        if (connection := self._socket) is not None:
            with suppress(OSError):  # It is closed already.
                # That of the class: the one of TLS would leave the socket to the thread that uses it without TLS.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it; what was under way is lost."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._retired = False
