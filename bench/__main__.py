"""Measure: `make bench`, or `python -m bench --help`.

The candidates run in turns, so that a machine whose speed drifts favours none, and each figure is the median of all
rounds. Every answer has to be a yes, and after each measurement the counters in the store have to have advanced by
exactly the number of calls.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import candidates, picture, report
from bench.candidates import Candidate, Running
from bench.http2 import LoadError
from bench.measure import Round, measure, pick
from bench.methods import METHODS
from bench.processes import Cores, pin
from bench.report import Row, What

BUILT_IN = ("native", "grpcio", "plain")


def options() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure how many calls canuse answers, beside others.")
    names = [method.name for method in METHODS]
    add = parser.add_argument
    add(
        "--only",
        nargs="+",
        choices=BUILT_IN,
        default=list(BUILT_IN[:2]),
        help="which built-in candidates (native grpcio)",
    )
    add("--no-built-in", action="store_true", help="none of them")
    add("--candidate", action="append", default=[], metavar="NAME=COMMAND", help="a server to start; {address} {host} "
        "{port} {redis_url} {redis_port} are filled in")  # fmt: skip
    add("--address", action="append", default=[], metavar="NAME=HOST:PORT[,REDIS_URL]", help="a server that runs; with "
        "REDIS_URL its counters are checked, and if it is a canuse its users are made there")  # fmt: skip
    add("--uncounted", nargs="+", default=[], metavar="NAME", help="candidates that do not count in their store")
    add("--sketch", type=Path, metavar="PATH", help="a sketch of a lane, run as `python PATH PORT REDIS_PORT`")
    add("--baseline", metavar="NAME", help="print how many times as fast as this candidate the others are")
    add("--methods", nargs="+", choices=names, default=names, help="which calls (all)")
    add("--users", type=int, nargs="+", default=[1, 1000], help="over how many users calls are spread (1 1000)")
    add("--in-flight", type=int, nargs="+", default=[1, 32, 128], help="calls at a time (1 32 128)")
    add("--rounds", type=int, default=3, help="how often each is measured (3)")
    add("--seconds", type=float, default=1.5, help="how long each time (1.5)")
    add("--fsync", choices=("everysec", "always", "no"), default="everysec", help="of the stores (everysec)")
    add("--out", type=Path, default=Path("bench-results"), help="where bench.json and bench.svg go (bench-results)")
    return parser.parse_args()


def chosen(given: argparse.Namespace, folder: Path) -> list[Candidate]:
    """Return the candidates."""
    names = [] if given.no_built_in else given.only
    found = [candidates.plain() if name == "plain" else candidates.canuse(name) for name in names]
    if given.sketch:
        found.append(candidates.sketch(given.sketch, folder))
    found += [candidates.by_command(text, given.uncounted) for text in given.candidate]
    found += [candidates.by_address(text, given.uncounted) for text in given.address]
    if len({candidate.name for candidate in found}) < len(found) or not found:
        raise LoadError("there has to be a candidate, and no two with one name")
    return found


def run(given: argparse.Namespace, all_candidates: list[Candidate], cores: Cores) -> dict[What, list[Round]]:
    """Measure everything, for each number of users on servers and stores of its own."""
    measured: dict[What, list[Round]] = {}
    for count in given.users:
        users = [f"user-{number:07d}" for number in range(count)]
        with ExitStack() as stack:
            servers = []
            for candidate in all_candidates:
                started = candidates.started(candidate, users, given.methods, given.fsync, cores)
                servers.append(stack.enter_context(started))
                _tell(servers[-1], given.methods, count)
            for number in range(given.rounds):
                picked = pick(users, number)
                for in_flight, server, method in _turns(servers, given.in_flight, given.methods, number):
                    what = What(count, method, in_flight, server.candidate.name)
                    [found] = [each for each in server.methods if each.name == method]
                    measured.setdefault(what, []).append(measure(server, found, picked, in_flight, given.seconds))
                print(f"round {number + 1} of {given.rounds} with {count:,} users is done", file=sys.stderr)
    return measured


def _turns(
    servers: list[Running], in_flight: list[int], methods: list[str], number: int
) -> Iterator[tuple[int, Running, str]]:
    """Yield what comes after what in a round: with each method the candidates, each round another one first."""
    first = number % len(servers)
    for calls in in_flight:
        for method in methods:
            for server in servers[first:] + servers[:first]:
                if any(each.name == method for each in server.methods):
                    yield calls, server, method


def _tell(server: Running, wanted: list[str], users: int) -> None:
    name = server.candidate.name
    if server.store is not None:
        print(f"{name}: {users:,} users were there after {server.prepare_seconds:.1f} s", file=sys.stderr)
    for missing in sorted(set(wanted) - {method.name for method in server.methods}):
        print(f"{name} has no {missing}: left out", file=sys.stderr)


def write(rows: list[Row], given: argparse.Namespace, cores: Cores) -> None:
    """Print the table; write JSON and the picture."""
    print(report.table(rows))
    if given.baseline:
        print("\n" + report.ratios(rows, given.baseline))
    for warning in report.warnings(rows):
        print(f"note: {warning}", file=sys.stderr)
    given.out.mkdir(parents=True, exist_ok=True)
    told = {
        "machine": {**report.machine(), "server_core": cores.server, "load_core": cores.load},
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(given).items()},
        "warnings": report.warnings(rows),
        "rows": [row.as_json() for row in rows],
    }
    (given.out / "bench.json").write_text(json.dumps(told, indent=1) + "\n")
    (given.out / "bench.svg").write_text(picture.svg(rows))
    print(f"{given.out}/bench.json and bench.svg are written", file=sys.stderr)


def main() -> None:
    """Read the options, measure, tell."""
    given = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that what was started is ended.
    cores = Cores.of_this_machine()
    pin(cores.load)
    try:
        with tempfile.TemporaryDirectory(prefix="canuse-bench-") as folder:
            rows = report.rows_of(run(given, chosen(given, Path(folder)), cores))
    except LoadError as error:
        sys.exit(f"bench: {error}")
    write(rows, given, cores)


if __name__ == "__main__":
    main()
