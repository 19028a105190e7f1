"""The load: a constant number of calls in flight over a few connections, for a time."""

import gc
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Final, Self

from bench.http2 import AnswerCheck, Connection, LoadError, Requests

MAX_STREAMS: Final = 32
"""Calls in flight on one connection."""
TIMEOUT_SECONDS: Final = 30
"""How long a server may be silent."""


Meter = Callable[[], float | None]


@dataclass(frozen=True, slots=True)
class Load:
    """The result of a load. `latencies_ns` is in ascending order; `cpu_seconds` is the loader's own; `metered`: by how
    much each meter advanced, None where it shows nothing."""

    seconds: float
    cpu_seconds: float
    latencies_ns: Sequence[int]
    metered: Sequence[float | None]

    @property
    def answered(self) -> int:
        """How many calls were answered, each as expected."""
        return len(self.latencies_ns)

    def latency_us(self, share: float) -> float:
        """Return the time within which this share of the calls was answered, in microseconds."""
        return self.latencies_ns[min(int(share * self.answered), self.answered - 1)] / 1000


class Loader:
    """Connections to a method of a server.

    `messages` are sent in turn, with new event ids where they have placeholders. LoadError is raised unless every call
    ends with OK and an answer that passes `check`.
    """

    def __init__(self, address: str, path: str, messages: Sequence[bytes], check: AnswerCheck, in_flight: int) -> None:
        requests = Requests(address, path, messages)
        calls = requests.calls()
        count = -(-in_flight // MAX_STREAMS)
        self._shares = [in_flight // count + (number < in_flight % count) for number in range(count)]
        self._connections: list[Connection] = []
        self._poll = select.poll()
        try:
            for share in self._shares:
                connection = Connection(address, requests, calls, check, TIMEOUT_SECONDS)
                self._connections.append(connection)
                self._poll.register(connection, select.POLLIN)
                if connection.max_streams < share:
                    raise LoadError(f"the server takes {connection.max_streams} calls at a time on one connection")
        except LoadError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()

    def run(self, seconds: float, meters: Sequence[Meter] = ()) -> Load:
        """Make calls for so long, and wait for the answers to all of them. `meters` are read just before and after."""
        for connection in self._connections:
            connection.latencies.clear()
        gc.collect()
        gc.disable()  # It would find nothing, and take its time in the middle of a measurement.
        try:
            before = [meter() for meter in meters]
            cpu_before, started = time.process_time(), time.perf_counter()
            self._drive(started + seconds)
            cpu_seconds, elapsed = time.process_time() - cpu_before, time.perf_counter() - started
            after = [meter() for meter in reversed(meters)][::-1]  # The last one is the closest, on either side.
        except KeyError as error:
            raise LoadError(f"an answer on stream {error}, where no call was made") from error
        except OSError as error:
            raise LoadError(f"the connection broke: {error}") from error
        finally:
            gc.enable()
        latencies = sorted(number for each in self._connections for number in each.latencies)
        return Load(elapsed, cpu_seconds, latencies, list(starmap(_advance, zip(before, after, strict=True))))

    def _drive(self, deadline: float) -> None:
        by_number = {connection.fileno(): number for number, connection in enumerate(self._connections)}
        in_flight = sum(each.send(share) for each, share in zip(self._connections, self._shares, strict=True))
        has_time = True
        while in_flight or has_time:
            if len(self._connections) == 1:
                ready = [0]  # There is nothing to choose from: `receive` waits as well.
            else:
                ready = [by_number[found] for found, _ in self._poll.poll(1000 * TIMEOUT_SECONDS)]
                if not ready:
                    raise LoadError("no answer came in time")
            for number in ready:
                connection = self._connections[number]
                in_flight -= connection.receive()
                has_time = time.perf_counter() < deadline
                in_flight += connection.send(self._shares[number] - connection.in_flight if has_time else 0)


def _advance(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
