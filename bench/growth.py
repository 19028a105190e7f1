"""The growth of the cost of a check with features, users and events: `python -m bench.growth`.

The cases take turns on one server and one store. Each figure is the median of all rounds: the CPU time of a check on
the server and on the store, and its latency with one call in flight.
"""

import argparse
import signal
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from bench import candidates
from bench.candidates import Running, Setup
from bench.http2 import LoadError
from bench.measure import MAX_USERS, measure, pick
from bench.methods import CAN_USE, FEATURE, USE_FEATURE
from bench.processes import Cores, pin
from canuse import Client, v1

FEATURES = (1, 10, 100)
"""Numbers of features of the users in the first cases."""
FEW = 1000


@dataclass(frozen=True)
class Case:
    """A case: users whose checks are measured together."""

    name: str
    users: list[str]


def cases(server: Running, options: argparse.Namespace, cores: Cores) -> Iterator[Case]:
    """Create the users of each case, and yield it."""
    with Client(server.address) as client:
        entries = [v1.PackageFeature(feature_id=FEATURE, limit=10**12, reset_period=v1.RESET_PERIOD_MONTH)]
        for number in range(FEATURES[-1] - 1):
            name = f"other-{number:03d}"
            client.create_feature(name, type=v1.FEATURE_TYPE_CONSUMABLE)
            entries.append(v1.PackageFeature(feature_id=name, limit=5, reset_period=v1.RESET_PERIOD_DAY))
        for count in FEATURES:
            yield from _with_features(client, f"features-{count}", entries[:count])
    everybody = [f"bench-{number:07d}" for number in range(options.users)]
    yield Case(f"{FEW:,} of {options.users:,} users in turn", everybody[:FEW])
    yield Case(f"{MAX_USERS:,} of {options.users:,} users in turn", pick(everybody, 0))
    measure(server, USE_FEATURE, everybody[:1], 128, options.fill_seconds, cores)
    yield Case("one user, after filling the ledger", everybody[:1])


def _with_features(client: Client, user_id: str, entries: list[v1.PackageFeature]) -> Iterator[Case]:
    client.create_package(user_id, entries)
    client.publish_package(user_id)
    client.create_user(user_id)
    client.subscribe(user_id, [user_id])
    yield Case(f"one user with {len(entries)} feature(s)", [user_id])


def run(options: argparse.Namespace, cores: Cores) -> dict[str, list[tuple[float, float, float]]]:
    """Measure all cases in turns; return CPU times and latencies by case."""
    users = [f"bench-{number:07d}" for number in range(options.users)]
    measured: dict[str, list[tuple[float, float, float]]] = {}
    setup = Setup([CAN_USE.name, USE_FEATURE.name], cores)
    with candidates.started(candidates.canuse("native"), users, setup) as server:
        prepared = list(cases(server, options, cores))
        for _ in range(options.rounds):
            for case in prepared:
                busy = measure(server, CAN_USE, case.users, 64, options.seconds, cores)
                alone = measure(server, CAN_USE, case.users, 1, options.seconds, cores)
                costs = (busy.server_cpu_us or 0.0, busy.store_cpu_us or 0.0, alone.p50_us)
                measured.setdefault(case.name, []).append(costs)
    return measured


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="bench.growth", description="Measure how the cost of a check grows.")
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--fill-seconds", type=float, default=15.0, help="duration of filling the ledger")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    cores = Cores.of_this_machine()
    pin(cores.load)
    try:
        measured = run(options, cores)
    except LoadError as error:
        sys.exit(f"bench: {error}")
    print(f"{'case':42} {'server us':>10} {'store us':>9} {'p50 us, one in flight':>22}")
    for name, rounds in measured.items():
        server, store, latency = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{name:42} {server:10.1f} {store:9.1f} {latency:22.0f}")


if __name__ == "__main__":
    main()
