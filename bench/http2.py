"""One HTTP/2 connection that makes unary gRPC calls, as cheaply as Python can: no event loop, no object a call.

Frames are prepared; what differs from call to call is the number of the stream. Answers are read frame by frame.
"""

import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Final

from bench.hpack import Decoder, HpackError, request_blocks

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS = 4, 3
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW: Final = 65_535
LARGEST_WINDOW: Final = (1 << 31) - 1
LARGEST_FRAME: Final = 16_384
RECEIVE_BYTES: Final = 1 << 16
PREFIX_BYTES: Final = 5
"""Before each gRPC message: whether it is compressed, and its length."""
_FRAME: Final = struct.Struct(">BHBBI")
_SETTING: Final = struct.Struct(">HI")
_PREFIX: Final = struct.Struct(">BI")

Answer = Callable[[bytes], object]
"""Says by its truth whether a message, gRPC's prefix before it, is the answer that is expected."""


class LoadError(RuntimeError):
    """The load could not be made, or an answer was not as it has to be."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call as frames: what stands between the two numbers of the stream, and what follows the second one."""

    middle: bytes
    message: bytes


class Requests:
    """The requests to one method: an endless round of messages."""

    def __init__(self, authority: str, path: str, messages: list[bytes]) -> None:
        headers = [
            (b":path", path.encode()),
            (b":authority", authority.encode()),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        ]
        self.first, later = request_blocks(headers)
        if max(map(len, messages)) > LARGEST_FRAME - PREFIX_BYTES:
            raise LoadError(f"a request of more than {LARGEST_FRAME} bytes does not fit into a frame")
        self.head = _FRAME.pack(0, len(later), HEADERS, END_HEADERS, 0)[:PREFIX_BYTES]
        self.calls = [self._call(later, message) for message in messages]

    @staticmethod
    def _call(block: bytes, message: bytes) -> Call:
        framed = _PREFIX.pack(0, len(message)) + message
        return Call(block + _FRAME.pack(0, len(framed), DATA, END_STREAM, 0)[:PREFIX_BYTES], framed)


class Connection:
    """A connection. `latencies` are the nanoseconds from the write to the answer, of all calls since it was emptied.

    All methods raise LoadError where the peer does what it must not, or where an answer is not as expected.
    """

    def __init__(
        self, address: str, requests: Requests, turns: Iterator[Call], yes: Answer, timeout_seconds: int
    ) -> None:
        host, _, port = address.rpartition(":")
        self.latencies: list[int] = []
        self.open = 0
        self._requests = requests
        self._turns = turns
        self._yes = yes
        self._decoder = Decoder()
        self._replies: list[bytes] = []
        self._started: dict[int, int] = {}
        self._bodies: dict[int, bytes] = {}
        self._rest = b""
        self._stream = 1
        self._next: Call | None = None
        self._window = DEFAULT_WINDOW
        self._stream_window = DEFAULT_WINDOW
        self._settings_known = False
        self.streams_allowed = LARGEST_WINDOW
        try:
            self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout_seconds)
        except OSError as error:
            raise LoadError(f"no connection to {address}: {error}") from error
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # The kernel watches the time. Python's own time-out would cost a system call more for each read and write.
            self._socket.settimeout(None)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", timeout_seconds, 0))
            self._greet()
        except (OSError, LoadError) as error:
            self.close()
            raise LoadError(f"no HTTP/2 with {address}: {error}") from error

    def _greet(self) -> None:
        settings = _SETTING.pack(INITIAL_WINDOW_SIZE, LARGEST_WINDOW)
        frames = _frame(SETTINGS, 0, 0, settings)
        frames += _frame(WINDOW_UPDATE, 0, 0, (LARGEST_WINDOW - DEFAULT_WINDOW).to_bytes(4, "big"))
        self._socket.sendall(PREFACE + frames)
        while not self._settings_known:
            self.receive()
        self.send(0)

    def fileno(self) -> int:
        """Return the number of the socket, to wait for it."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, count: int) -> int:
        """Start up to so many calls, with what is owed to the peer, in one write; return how many fit."""
        out = self._replies
        self._replies = []
        head, started, bodies = self._requests.head, self._started, self._bodies
        stream, window, room = self._stream, self._window, 0
        now = perf_counter_ns()
        while room < count:
            call = self._next or next(self._turns)
            message = call.message
            if len(message) > window:
                self._next = call
                break
            self._next = None
            number = stream.to_bytes(4, "big")
            if stream == 1:
                first = self._requests.first
                out += (_FRAME.pack(0, len(first), HEADERS, END_HEADERS, 1), first, call.middle[-PREFIX_BYTES:])
            else:
                out += (head, number, call.middle)
            out += (number, message)
            started[stream] = now
            bodies[stream] = b""
            stream += 2
            window -= len(message)
            room += 1
        if out:
            self._socket.sendall(b"".join(out))
        self._stream, self._window = stream, window
        self.open += room
        return room

    def receive(self) -> int:
        """Read what has come; return how many calls were answered."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError as error:
            raise LoadError("no answer came in time") from error
        if not data:
            raise LoadError(f"the connection was closed with {self.open} calls unanswered")
        now = perf_counter_ns()
        if self._rest:
            data = self._rest + data
        bodies, known, unpack = self._bodies, self._decoder.known, _FRAME.unpack_from
        at, end, answered = 0, len(data), 0
        while at + _FRAME.size <= end:
            high, low, kind, flags, stream = unpack(data, at)
            first = at + 9
            after = first + (high << 16 | low)
            if after > end:
                break
            if kind == DATA and flags == 0:
                bodies[stream] += data[first:after]
            elif kind == HEADERS and flags == END_HEADERS | END_STREAM:
                block = data[first:after]
                self._finish(stream, known.get(block) or self._decode(block), now)
                answered += 1
            elif kind == HEADERS and flags == END_HEADERS:
                block = data[first:after]
                if block not in known:
                    self._decode(block)
            else:
                self._control(kind, flags, stream, data[first:after])
            at = after
        self._rest = data[at:]
        self.open -= answered
        return answered

    def _finish(self, stream: int, trailers: dict[bytes, bytes], now: int) -> None:
        body = self._bodies.pop(stream)
        if trailers.get(b"grpc-status") != b"0":
            message = trailers.get(b"grpc-message", b"").decode(errors="replace")
            raise RefusedError(trailers.get(b"grpc-status", b"none").decode(), message)
        if len(body) < PREFIX_BYTES or _PREFIX.unpack_from(body) != (0, len(body) - PREFIX_BYTES):
            raise LoadError(f"an answer that is no message: {body.hex()}")
        if not self._yes(body):
            raise LoadError(f"an answer that is not a yes: {body[PREFIX_BYTES:].hex()}")
        self.latencies.append(now - self._started.pop(stream))

    def _decode(self, block: bytes) -> dict[bytes, bytes]:
        try:
            return self._decoder.decode(block)
        except HpackError as error:
            raise LoadError(str(error)) from error

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == PING and not flags & ACK:
            self._replies.append(_frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            self._take(dict(_SETTING.iter_unpack(payload)))
            self._replies.append(_frame(SETTINGS, ACK, 0, b""))
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind in {GOAWAY, RST_STREAM}:
            name = "GOAWAY" if kind == GOAWAY else "RST_STREAM"
            raise LoadError(
                f"{name}, error {int.from_bytes(payload[-4:] if kind == RST_STREAM else payload[4:8], 'big')}"
            )
        elif kind in {DATA, HEADERS, PUSH_PROMISE, CONTINUATION}:
            raise LoadError(f"a frame of kind {kind} with flags {flags:#x}, which this client does not know")

    def _take(self, settings: dict[int, int]) -> None:
        self._settings_known = True
        self.streams_allowed = settings.get(MAX_CONCURRENT_STREAMS, self.streams_allowed)
        self._stream_window = settings.get(INITIAL_WINDOW_SIZE, self._stream_window)
        longest = max(len(call.message) for call in self._requests.calls)
        if self._stream_window < longest:
            raise LoadError(f"the server takes {self._stream_window} bytes a call, and this one has {longest}")


class RefusedError(LoadError):
    """A call that did not end with OK. `status` is its grpc-status."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"grpc-status {status}: {message}")
        self.status = status


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload
