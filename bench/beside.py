"""Checks on the batch lane while other calls go to the same server: `python -m bench.beside`.

The other calls are reads that the event loop answers, a fixed number a second: over the HTTP port in JSON, and over
gRPC. The cases take turns, and each figure is the median of all rounds. Every check must grant access.
"""

import argparse
import multiprocessing
import signal
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from typing import Final

from bench import candidates
from bench.candidates import Running, Setup
from bench.http2 import Connection, LoadError, Requests
from bench.loader import Loader
from bench.measure import WARM_UP_SHARE, pick
from bench.methods import CAN_USE
from bench.processes import Cores, free_port, pin
from canuse import v1

READ: Final = "/canuse.v1.UserService/GetUser"
CONNECTIONS: Final = 8
"""Number of connections of the other calls, each with one call at a time."""
TIMEOUT_SECONDS: Final = 30
CASES: Final = ("alone", "HTTP", "gRPC")
Call = Callable[[], object]


def http_call(address: str, user: str) -> Call:
    """Connect; return a function that makes a call over HTTP."""
    host, _, port = address.rpartition(":")
    connected = socket.create_connection((host, int(port)), TIMEOUT_SECONDS)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = f'{{"userId":"{user}"}}'.encode()
    head = f"POST {READ} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    request = head.encode() + b"\r\n\r\n" + body

    def call() -> None:
        connected.sendall(request)
        answer = b""
        while not answer.endswith(b"}"):  # That of the body: the head ends with an empty line.
            part = connected.recv(1 << 16)
            answer += part
            if not part or not answer.startswith(b"HTTP/1.1 200"):
                raise LoadError(f"an answer that is not a user: {answer[:200]!r}")

    return call


def grpc_call(address: str, user: str) -> Call:
    """Connect; return a function that makes a call over gRPC."""
    message = v1.GetUserRequest(user_id=user).SerializeToString()
    requests = Requests(address, READ, [message])
    connection = Connection(address, requests, requests.calls(), bool, TIMEOUT_SECONDS)

    def call() -> None:
        connection.send(1)
        while not connection.receive():
            pass

    return call


def _make_calls(kind: str, address: str, user: str, rate: float, pipe: Pipe) -> None:
    """Make so many calls a second until told to end; send their number a second."""
    over = threading.Event()
    counts = [0] * CONNECTIONS

    def run(number: int) -> None:
        call = (http_call if kind == "HTTP" else grpc_call)(address, user)
        next_at = time.perf_counter() + number / rate
        while not over.wait(max(0.0, next_at - time.perf_counter())):
            call()
            counts[number] += 1
            next_at = max(next_at + CONNECTIONS / rate, time.perf_counter() - 1)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(CONNECTIONS)]
    started_at = time.perf_counter()
    for thread in threads:
        thread.start()
    pipe.send(None)
    pipe.recv()
    pipe.send(sum(counts) / (time.perf_counter() - started_at))
    over.set()
    for thread in threads:
        thread.join()


@contextmanager
def calls_beside(kind: str, address: str, user: str, rate: float) -> Iterator[Callable[[], float]]:
    """Make calls in another process while the block runs; give a function that ends them and returns the rate."""
    context = multiprocessing.get_context("spawn")
    own, other = context.Pipe()
    process = context.Process(target=_make_calls, args=(kind, address, user, rate, other))
    process.start()
    try:
        own.recv()

        def end() -> float:
            own.send(None)
            made: float = own.recv()
            return made

        yield end
    finally:
        process.join(TIMEOUT_SECONDS)
        process.kill()


def measure(
    server: Running, http: str, case: str, users: list[str], options: argparse.Namespace
) -> tuple[float, float, float]:
    """Return the checks a second, their p99 in microseconds, and the other calls a second."""
    with Loader(server.address, CAN_USE.path, CAN_USE.messages(users), CAN_USE.check, options.in_flight) as loader:
        if case == "alone":
            loader.run(WARM_UP_SHARE * options.seconds)
            load, made = loader.run(options.seconds), 0.0
        else:
            address = http if case == "HTTP" else server.address
            with calls_beside(case, address, users[0], options.rate) as end:
                loader.run(WARM_UP_SHARE * options.seconds)
                load, made = loader.run(options.seconds), end()
    return load.answered / load.seconds, load.latency_us(0.99), made


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(prog="bench.beside", description="Measure the lane beside calls over HTTP.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of a measurement")
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--in-flight", type=int, default=32, help="number of checks in flight")
    parser.add_argument("--rate", type=float, default=300.0, help="number of other calls a second")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that the started processes are stopped.
    cores = Cores.of_this_machine()
    pin(cores.load)
    users = [f"bench-{number:07d}" for number in range(options.users)]
    http = f"127.0.0.1:{free_port()}"
    found: dict[str, list[tuple[float, float, float]]] = {case: [] for case in CASES}
    try:
        server = candidates.canuse("native", http_listen=http)
        with candidates.started(server, users, Setup((CAN_USE.name,), cores)) as running:
            for number in range(options.rounds):
                for case in CASES[number % 3 :] + CASES[: number % 3]:
                    found[case].append(measure(running, http, case, pick(users, number), options))
    except LoadError as error:
        sys.exit(f"bench.beside: {error}")
    print(f"{'beside':>8} {'calls/s':>8} {'checks/s':>9} {'of alone':>9} {'p99 ms':>7}")
    alone = statistics.median(rate for rate, _, _ in found["alone"])
    for case in CASES:
        rate, p99_us, made = map(statistics.median, zip(*found[case], strict=True))
        print(f"{case:>8} {made:8.0f} {rate:9,.0f} {rate / alone:9.0%} {p99_us / 1000:7.1f}")


if __name__ == "__main__":
    main()
