"""One measurement: a method of a candidate, with a number of users and of calls in flight."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.candidates import Running
from bench.http2 import LoadError
from bench.loader import Load, Loader, Meter
from bench.methods import Method
from bench.processes import Cores

WARM_UP_SHARE: Final = 0.15
"""Duration of the warm-up of connections, caches and interpreters, as a share of the measurement."""
MAX_USERS: Final = 50_000
"""Maximum number of users of one measurement, sampled from all users."""


@dataclass(frozen=True, slots=True)
class Round:
    """The result of a measurement. CPU times are microseconds per item, the loader's per call. `load_share` is the
    utilization of the core of loader and store; `others_share` is the CPU time of all other processes on both cores, as
    a share of one core. None: unknown."""

    calls_per_second: float
    items_per_second: float
    p50_us: float
    p99_us: float
    p999_us: float
    server_cpu_us: float | None
    store_cpu_us: float | None
    loader_cpu_us: float
    load_share: float
    others_share: float | None
    server_bytes: int | None
    store_bytes: int | None
    answered: int
    checked: bool


def pick(users: Sequence[str], round_number: int) -> list[str]:
    """Return the users of a round, in the same order for all candidates."""
    return random.Random(round_number).sample(users, min(len(users), MAX_USERS))


def measure(
    running: Running, method: Method, users: Sequence[str], in_flight: int, seconds: float, cores: Cores
) -> Round:
    """Run one measurement.

    Raises:
        LoadError: a response was wrong, or the counters did not advance by exactly the number of granted items.
    """
    process, store = running.process, running.store
    meters: list[Meter] = [
        process.cpu_seconds if process else _unknown,
        store.cpu_seconds if store else _unknown,
        cores.busy_seconds,
    ]
    try:
        before = running.used(users)
        with Loader(running.address, method.path, method.messages(users), method.check, in_flight) as loader:
            warm_up = loader.run(WARM_UP_SHARE * seconds)
            load = loader.run(seconds, meters)
        after = running.used(users)
        expected = method.counts * method.items * (warm_up.answered + load.answered)
        if before is not None and after is not None and after - before != expected:
            raise LoadError(f"{expected} should have been counted, and {after - before} were")
    except LoadError as error:
        raise LoadError(f"{running.candidate.name}, {method.name}, {in_flight} in flight: {error}") from error
    server_cpu, store_cpu, busy = load.metered
    measured_cpu = load.cpu_seconds + (store_cpu or 0) + (server_cpu or 0)
    return Round(
        calls_per_second=load.answered / load.seconds,
        items_per_second=load.answered * method.items / load.seconds,
        p50_us=load.latency_us(0.5),
        p99_us=load.latency_us(0.99),
        p999_us=load.latency_us(0.999),
        server_cpu_us=_us_per_item(server_cpu, load, method),
        store_cpu_us=_us_per_item(store_cpu, load, method),
        loader_cpu_us=1e6 * load.cpu_seconds / load.answered,
        load_share=(load.cpu_seconds + (store_cpu or 0)) / load.seconds,
        others_share=None if busy is None or process is None else max(0, busy - measured_cpu) / load.seconds,
        server_bytes=process.resident_bytes() if process else None,
        store_bytes=store.resident_bytes() if store else None,
        answered=load.answered,
        checked=after is not None,
    )


def _unknown() -> None:
    """A meter for a server that the bench did not start, or for an unknown store."""


def _us_per_item(cpu_seconds: float | None, load: Load, method: Method) -> float | None:
    return None if cpu_seconds is None else 1e6 * cpu_seconds / (load.answered * method.items)
