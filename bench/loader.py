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
"""Maximum number of calls in flight on one connection."""
TIMEOUT_SECONDS: Final = 30
"""Maximum time without an answer."""


Meter = Callable[[], float | None]


@dataclass(frozen=True, slots=True)
class Load:
    """The result of a load. `latencies_ns` is sorted; `cpu_seconds` is the CPU time of the loader; `metered` contains
    the difference of each meter, None if it is unknown."""

    seconds: float
    cpu_seconds: float
    latencies_ns: Sequence[int]
    metered: Sequence[float | None]

    @property
    def answered(self) -> int:
        """Number of answered calls. All answers were as expected."""
        return len(self.latencies_ns)

    def latency_us(self, share: float) -> float:
        """Return the latency quantile for `share`, in microseconds."""
        return self.latencies_ns[min(int(share * self.answered), self.answered - 1)] / 1000


class Loader:
    """Connections to a method of a server.

    `messages` are sent in turn, with new event ids in place of their placeholders. LoadError is raised unless every
    call ends with OK and a response that passes `check`.
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
        """Make calls for a time, and wait for all answers. `meters` are read immediately before and after."""
        for connection in self._connections:
            connection.latencies.clear()
        gc.collect()
        gc.disable()  # There are no cycles, and a run would disturb the measurement.
        try:
            before = [meter() for meter in meters]
            cpu_before, started_at = time.process_time(), time.perf_counter()
            self._drive(started_at + seconds)
            cpu_seconds, elapsed = time.process_time() - cpu_before, time.perf_counter() - started_at
            # In reverse, so that the last meter is read closest to the load before and after it.
            after = [meter() for meter in reversed(meters)][::-1]
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
                ready = [0]  # `receive` waits for it.
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
