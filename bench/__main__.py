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
from bench.methods import Method
from bench.options import chosen, options
from bench.processes import Cores, pin
from bench.report import Row, What


def run(given: argparse.Namespace, all_candidates: list[Candidate], cores: Cores, notes: list[str]) -> list[Row]:
    """Measure everything, for each number of users on servers and stores of its own; add to `notes` what is worth
    telling."""
    measured: dict[What, list[Round]] = {}
    for count in given.users:
        users = [f"bench-{number:07d}" for number in range(count)]
        with ExitStack() as stack:
            servers = []
            for candidate in all_candidates:
                started = candidates.started(candidate, users, given.methods, given.fsync, cores)
                servers.append(stack.enter_context(started))
                for note in _notes(servers[-1], given.methods, count):
                    print(note, file=sys.stderr)
                    notes.append(note)
            for number in range(given.rounds):
                picked = pick(users, number)
                for in_flight, method, server in _turns(servers, given.in_flight, given.methods, number):
                    what = What(count, method.name, in_flight, server.candidate.name)
                    done = measure(server, method, picked, in_flight, given.seconds, cores)
                    measured.setdefault(what, []).append(done)
                print(f"round {number + 1} of {given.rounds} with {count:,} users is done", file=sys.stderr)
    if not measured:
        raise LoadError("no candidate has any of these methods")
    return report.rows_of(measured)


def _turns(
    servers: list[Running], in_flight: list[int], names: list[str], number: int
) -> Iterator[tuple[int, Method, Running]]:
    """Yield what comes after what in a round: with each method the candidates, each round another one first."""
    first = number % len(servers)
    for calls in in_flight:
        for name in names:
            for server in servers[first:] + servers[:first]:
                yield from ((calls, method, server) for method in server.methods if method.name == name)


def _notes(server: Running, wanted: list[str], users: int) -> Iterator[str]:
    name = f"{server.candidate.name}, {users:,} users"
    if server.store is not None:
        yield f"{name}: made in {server.prepare_seconds:.1f} s"
    has = {method.name for method in server.methods}
    if missing := [method for method in wanted if method not in has]:
        yield f"{name}: has no {', '.join(missing)}"


def write(rows: list[Row], given: argparse.Namespace, cores: Cores, notes: list[str]) -> None:
    """Print the table; write JSON and the picture."""
    print(report.table(rows))
    if given.baseline:
        print("\n" + report.ratios(rows, given.baseline))
    for warning in report.warnings(rows):
        print(f"warning: {warning}", file=sys.stderr)
    given.out.mkdir(parents=True, exist_ok=True)
    told = {
        "machine": {**report.machine(), "server_core": cores.server, "load_core": cores.load},
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(given).items()},
        "notes": notes,
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
    notes: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix="canuse-bench-") as folder:
            rows = run(given, chosen(given, Path(folder)), cores, notes)
    except LoadError as error:
        sys.exit(f"bench: {error}")
    write(rows, given, cores, notes)


if __name__ == "__main__":
    main()
