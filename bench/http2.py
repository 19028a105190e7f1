"""An HTTP/2 connection that makes unary gRPC calls with prepared frames, without an event loop or an object per call.

The library h2 would be the bottleneck: with 128 calls in flight it needs 65 µs of the loader's core per call, four
times as much as the server, and reaches 14,900 checks per second (12,500 uses). These frames need 5 µs and reach 50,900
checks (57,200 uses): medians of three rounds in turns. The header blocks are encoded by hpack.
"""

import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, starmap
from time import perf_counter_ns
from typing import Final, NamedTuple

from bench import event_ids
from bench.headers import Decoder, HeaderError, request_blocks

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS = 4, 3
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW: Final = 65_535
MAX_WINDOW: Final = (1 << 31) - 1
MAX_FRAME_BYTES: Final = 16_384
RECEIVE_BYTES: Final = 1 << 16
PREFIX_BYTES: Final = 5
"""Size of the prefix of a gRPC message: the compression flag and the length."""
SHOWN_BYTES: Final = 200
"""Number of bytes of an unexpected answer that an error shows."""
_FRAME: Final = struct.Struct(">BHBBI")
_SETTING: Final = struct.Struct(">HI")
_PREFIX: Final = struct.Struct(">BI")

AnswerCheck = Callable[[bytes], object]
"""Returns a true value if a message with gRPC's prefix is the expected answer."""


class LoadError(RuntimeError):
    """The load failed, or an answer was not as expected."""


class CallFailedError(LoadError):
    """A call that did not end with OK. `status` is its grpc-status."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"grpc-status {status}: {message}")
        self.status = status


class Call(NamedTuple):
    """A call as frames, split at the positions of the stream id; `size` is its flow-control size in bytes."""

    parts: Sequence[bytes]
    size: int


class Requests:
    """The frames of requests to one method."""

    def __init__(self, authority: str, path: str, messages: Sequence[bytes]) -> None:
        headers = [
            (b":path", path.encode()),
            (b":authority", authority.encode()),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        ]
        self._first_block, self._block = request_blocks(headers)
        self._head = _head(HEADERS, END_HEADERS, self._block)
        self._messages = messages
        self.max_size = max(map(len, messages)) + PREFIX_BYTES

    def calls(self) -> Iterator[Call]:
        """Yield calls endlessly: all messages in turn, with new event ids in place of placeholders."""
        prepared = [self._call(message) for message in self._messages]
        if not any(event_ids.PLACEHOLDER.encode() in message for message in self._messages):
            return cycle(prepared)
        return starmap(self._with_new_ids, cycle(zip(self._messages, prepared, strict=True)))

    def _with_new_ids(self, message: bytes, prepared: Call) -> Call:
        if len(prepared.parts) > 3:
            return self._call(event_ids.with_new_ids(message))  # A placeholder may be in two frames.
        head, block_and_head, body = prepared.parts
        return Call((head, block_and_head, event_ids.with_new_ids(body)), prepared.size)

    def _call(self, message: bytes) -> Call:
        body = _PREFIX.pack(0, len(message)) + message
        parts, pending = [self._head], self._block
        for start in range(0, len(body) - MAX_FRAME_BYTES, MAX_FRAME_BYTES):
            chunk = body[start : start + MAX_FRAME_BYTES]
            parts.append(pending + _head(DATA, 0, chunk))
            pending = chunk
        last = body[(len(parts) - 1) * MAX_FRAME_BYTES :] if len(parts) > 1 else body
        parts += (pending + _head(DATA, END_STREAM, last), last)
        return Call(parts, len(body))

    def first(self, call: Call) -> Call:
        """Return a call as the first of a connection, with the complete header block."""
        _, block_and_head, *rest = call.parts
        head = _head(HEADERS, END_HEADERS, self._first_block)
        return call._replace(parts=(head, self._first_block + block_and_head[len(self._block) :], *rest))


class Connection:
    """A connection. `latencies` are the times from write to answer in nanoseconds, of all calls since it was cleared.

    All methods raise LoadError if the peer violates the protocol or an answer is not as expected.
    """

    def __init__(
        self, address: str, requests: Requests, calls: Iterator[Call], check: AnswerCheck, timeout_seconds: int
    ) -> None:
        host, _, port = address.rpartition(":")
        self.latencies: list[int] = []
        self.in_flight = 0
        self.max_streams = MAX_WINDOW
        self._requests = requests
        self._calls = calls
        self._check = check
        self._decoder = Decoder()
        self._control_frames: list[bytes] = []
        self._sent_at: dict[int, int] = {}
        self._bodies: dict[int, bytes] = {}
        self._unparsed = b""
        self._stream = 1
        self._postponed: Call | None = None
        self._window = DEFAULT_WINDOW
        self._stream_window = DEFAULT_WINDOW
        self._has_settings = False
        try:
            self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout_seconds)
        except OSError as error:
            raise LoadError(f"no connection to {address}: {error}") from error
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # The kernel enforces the timeout: Python's own costs one more system call for each read and write.
            self._socket.settimeout(None)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", timeout_seconds, 0))
            self._handshake()
        except (OSError, LoadError) as error:
            self.close()
            raise LoadError(f"no HTTP/2 with {address}: {error}") from error

    def _handshake(self) -> None:
        settings = _SETTING.pack(INITIAL_WINDOW_SIZE, MAX_WINDOW)
        frames = _frame(SETTINGS, 0, 0, settings)
        frames += _frame(WINDOW_UPDATE, 0, 0, (MAX_WINDOW - DEFAULT_WINDOW).to_bytes(4, "big"))
        self._socket.sendall(PREFACE + frames)
        while not self._has_settings:
            self.receive()
        self.send(0)

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, count: int) -> int:
        """Start up to `count` calls and send pending control frames, in one write; return how many calls fit the
        window."""
        out = self._control_frames
        self._control_frames = []
        calls, sent_at, bodies = self._calls, self._sent_at, self._bodies
        stream, window, started = self._stream, self._window, 0
        now = perf_counter_ns()
        while started < count:
            call = self._postponed or next(calls)
            if call.size > window:
                self._postponed = call
                break
            self._postponed = None
            if stream == 1:
                call = self._requests.first(call)
            out.append(stream.to_bytes(4, "big").join(call.parts))
            sent_at[stream] = now
            bodies[stream] = b""
            stream += 2
            window -= call.size
            started += 1
        if out:
            self._socket.sendall(b"".join(out))
        self._stream, self._window = stream, window
        self.in_flight += started
        return started

    def receive(self) -> int:
        """Wait for data and read once; return the number of answered calls."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError as error:
            raise LoadError("no answer came in time") from error
        if not data:
            raise LoadError(f"the connection was closed with {self.in_flight} calls unanswered")
        now = perf_counter_ns()
        if self._unparsed:
            data = self._unparsed + data
        bodies, known, unpack = self._bodies, self._decoder.known, _FRAME.unpack_from
        position, end, answered = 0, len(data), 0
        while position + _FRAME.size <= end:
            high, low, kind, flags, stream = unpack(data, position)
            start = position + 9
            stop = start + (high << 16 | low)
            if stop > end:
                break
            if kind == DATA and flags == 0:
                bodies[stream] += data[start:stop]
            elif kind == HEADERS and flags == END_HEADERS | END_STREAM:
                block = data[start:stop]
                self._finish(stream, known.get(block) or self._decode(block), now)
                answered += 1
            elif kind == HEADERS and flags == END_HEADERS:
                block = data[start:stop]
                if block not in known:
                    self._decode(block)
            else:
                self._control(kind, flags, stream, data[start:stop])
            position = stop
        self._unparsed = data[position:]
        self.in_flight -= answered
        return answered

    def _finish(self, stream: int, trailers: dict[bytes, bytes], now: int) -> None:
        body = self._bodies.pop(stream)
        if trailers.get(b"grpc-status") != b"0":
            message = trailers.get(b"grpc-message", b"").decode(errors="replace")
            raise CallFailedError(trailers.get(b"grpc-status", b"none").decode(), message)
        if len(body) < PREFIX_BYTES or _PREFIX.unpack_from(body) != (0, len(body) - PREFIX_BYTES):
            raise LoadError(f"an answer that is no message: {body.hex()}")
        if not self._check(body):
            raise LoadError(f"an answer that is not a yes: {body[PREFIX_BYTES:][:SHOWN_BYTES].hex()}")
        self.latencies.append(now - self._sent_at.pop(stream))

    def _decode(self, block: bytes) -> dict[bytes, bytes]:
        try:
            return self._decoder.decode(block)
        except HeaderError as error:
            raise LoadError(str(error)) from error

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == PING and not flags & ACK:
            self._control_frames.append(_frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            self._apply(dict(_SETTING.iter_unpack(payload)))
            self._control_frames.append(_frame(SETTINGS, ACK, 0, b""))
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind in {GOAWAY, RST_STREAM}:
            name = "GOAWAY" if kind == GOAWAY else "RST_STREAM"
            code = payload[-4:] if kind == RST_STREAM else payload[4:8]
            raise LoadError(f"{name}, error {int.from_bytes(code, 'big')}")
        elif kind in {DATA, HEADERS, PUSH_PROMISE, CONTINUATION}:
            raise LoadError(f"a frame of kind {kind} with flags {flags:#x}, which this client does not know")

    def _apply(self, settings: dict[int, int]) -> None:
        self._has_settings = True
        self.max_streams = settings.get(MAX_CONCURRENT_STREAMS, self.max_streams)
        self._stream_window = settings.get(INITIAL_WINDOW_SIZE, self._stream_window)
        size = self._requests.max_size
        if self._stream_window < size:
            raise LoadError(f"the server takes {self._stream_window} bytes a call, and this one has {size}")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _head(kind, flags, payload) + stream.to_bytes(4, "big") + payload


def _head(kind: int, flags: int, payload: bytes) -> bytes:
    """Return the part of a frame before the stream id."""
    return _FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, 0)[:PREFIX_BYTES]
