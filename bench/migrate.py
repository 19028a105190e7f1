"""Checks during a migration of all subscriptions to another version of their package: `python -m bench.migrate`.

The migrated users are checked continuously before, during and after the migration. Each round migrates all of them,
back and forth between two versions; the transports take turns, and each figure is the median of all rounds. Every check
must grant access, and at the end the counts in the store must be unchanged.
"""

import argparse
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import astuple, dataclass, replace
from itertools import chain
from typing import Final

from bench import candidates
from bench.apis import LIMIT, PACKAGE
from bench.candidates import Running, Setup
from bench.http2 import LoadError
from bench.loader import Load, Loader
from bench.measure import WARM_UP_SHARE, pick
from bench.methods import CAN_USE, FEATURE, USE_FEATURE, Method
from bench.processes import Cores, pin
from canuse import CanuseError, Client, v1

TRANSPORTS: Final = ("native", "grpcio")
PHASES: Final = ("before", "during", "after")
LONG_STORE_TIMEOUT: Final = {"CANUSE_STORE_TIMEOUT_SECONDS": "30"}
"""The store shares a core with the loader: on a busy machine, a migration must not fail with a timeout."""
SLICE_SECONDS: Final = 0.25
"""Duration of the checks between two tests whether the migration has ended."""


@dataclass(frozen=True, slots=True)
class Checks:
    """The results of checks. Latencies in microseconds."""

    requests_per_second: float
    mean_us: float
    p50_us: float
    p99_us: float

    @classmethod
    def of(cls, loads: Sequence[Load]) -> "Checks":
        """Combine the results of loads."""
        latencies_ns = sorted(chain.from_iterable(load.latencies_ns for load in loads))
        return cls(
            requests_per_second=len(latencies_ns) / sum(load.seconds for load in loads),
            mean_us=statistics.fmean(latencies_ns) / 1000,
            p50_us=latencies_ns[len(latencies_ns) // 2] / 1000,
            p99_us=latencies_ns[len(latencies_ns) * 99 // 100] / 1000,
        )


@dataclass(frozen=True, slots=True)
class Round:
    """One migration of all subscriptions: its duration, and the checks before, during and after it."""

    seconds: float
    checks: tuple[Checks, Checks, Checks]


def measure(server: Running, users: Sequence[str], to_version: int, options: argparse.Namespace) -> Round:
    """Migrate all users while they are checked."""
    with _loader(server, CAN_USE, pick(users, to_version), options) as loader, ThreadPoolExecutor(1) as pool:
        loader.run(WARM_UP_SHARE * options.seconds)
        before = [loader.run(options.seconds)]
        migration = pool.submit(_migrate, server.address, to_version)
        during = _check_until(migration, loader)
        seconds = migration.result()
        after = [loader.run(options.seconds)]
    return Round(seconds, (Checks.of(before), Checks.of(during), Checks.of(after)))


def _loader(server: Running, method: Method, users: Sequence[str], options: argparse.Namespace) -> Loader:
    return Loader(server.address, method.path, method.messages(users), method.check, options.in_flight)


def _migrate(address: str, to_version: int) -> float:
    """Migrate all subscriptions; return the duration in seconds."""
    started = time.perf_counter()
    with Client(address) as client:
        *_, last = client.migrate_subscriptions(PACKAGE, to_version=to_version)
    if last.migrated != last.users:
        raise LoadError(f"{last.migrated} of {last.users} subscriptions were moved")
    return time.perf_counter() - started


def _check_until(migration: "Future[float]", loader: Loader) -> list[Load]:
    """Make checks until a migration has ended. The load during which it ends is omitted, unless it is the only one."""
    loads: list[Load] = []
    while True:
        load = loader.run(SLICE_SECONDS)
        has_ended = migration.done()
        if not has_ended or not loads:
            loads.append(load)
        if has_ended:
            return loads


def _publish(address: str) -> None:
    """Publish a second version, with twice the limit."""
    entry = v1.PackageFeature(feature_id=FEATURE, limit=2 * LIMIT, reset_period=v1.RESET_PERIOD_MONTH)
    with Client(address) as client:
        client.update_package(PACKAGE, features=[entry])
        client.publish_package(PACKAGE)


def run(options: argparse.Namespace, cores: Cores) -> dict[str, list[Round]]:
    """Measure each transport, each with its own server and store, with the same users."""
    users = [f"bench-{number:07d}" for number in range(options.users)]
    rounds: dict[str, list[Round]] = {}
    with ExitStack() as stack:
        servers: dict[str, Running] = {}
        used: dict[str, int | None] = {}
        for name in options.transports:
            candidate = replace(candidates.canuse(name), env=LONG_STORE_TIMEOUT)
            started = candidates.started(candidate, users, Setup([CAN_USE.name], cores))
            server = servers[name] = stack.enter_context(started)
            _publish(server.address)
            with _loader(server, USE_FEATURE, users, options) as loader:
                loader.run(options.seconds)
            used[name] = server.used(users)
            print(f"{name}: made {options.users:,} users in {server.prepare_seconds:.1f} s", file=sys.stderr)
        for number in range(options.rounds):
            for name, server in servers.items():
                rounds.setdefault(name, []).append(measure(server, users, 2 - number % 2, options))
                print(table({name: rounds[name][-1:]}, options.users), file=sys.stderr, flush=True)
        for name, server in servers.items():
            if server.used(users) != used[name]:
                raise LoadError(f"{name}: the usage was {used[name]}, and is now {server.used(users)}")
    return rounds


def table(rounds: dict[str, list[Round]], users: int) -> str:
    """Return the medians as text."""
    lines = [f"{'transport':10} {'checks':8} {'req/s':>8} {'mean us':>8} {'p50 us':>8} {'p99 us':>8}"]
    for name, measured in rounds.items():
        for number, phase in enumerate(PHASES):
            columns = zip(*(astuple(each.checks[number]) for each in measured), strict=True)
            figures = " ".join(f"{statistics.median(column):8,.0f}" for column in columns)
            lines.append(f"{name:10} {phase:8} {figures}")
    for name, measured in rounds.items():
        seconds = statistics.median(each.seconds for each in measured)
        lines.append(f"{name}: {users:,} subscriptions moved in {seconds:.1f} s, {users / seconds:,.0f} a second")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="bench.migrate", description=__doc__.partition("\n")[0])
    parser.add_argument("--users", type=int, default=100_000, help="number of users with a subscription (100000)")
    parser.add_argument("--rounds", type=int, default=3, help="number of migrations of all users (3)")
    parser.add_argument("--seconds", type=float, default=10, help="duration of the checks before and after (10)")
    parser.add_argument("--in-flight", type=int, default=32, help="concurrent checks (32)")
    parser.add_argument("--transports", nargs="+", choices=TRANSPORTS, default=list(TRANSPORTS))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that the started processes are stopped.
    cores = Cores.of_this_machine()
    pin(cores.load)
    try:
        print(table(run(options, cores), options.users))
    except (LoadError, CanuseError) as error:
        sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
