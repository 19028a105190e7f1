"""The benchmark: `make bench`, or `python -m bench --help`.

The candidates take turns, so that changes of the machine's speed favour none, and each figure is the median of all
rounds. Every response must grant access, and after each measurement the counters in the store must have advanced by
exactly the number of items.
"""

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import candidates, picture, report
from bench.candidates import Candidate, Running, Setup
from bench.http2 import LoadError
from bench.measure import Round, measure, pick
from bench.methods import Method
from bench.options import chosen_candidates, parse_options
from bench.processes import Cores, pin
from bench.report import Case, Row


def run(options: argparse.Namespace, chosen: list[Candidate], cores: Cores, notes: list[str]) -> list[Row]:
    """Measure all cases, with new servers and stores for each number of users. Adds remarks for the report to
    `notes`."""
    measured: dict[Case, list[Round]] = {}
    setup = Setup(options.methods, cores, options.fsync, options.batch, options.kept_ids)
    for count in options.users:
        users = [f"bench-{number:07d}" for number in range(count)]
        with ExitStack() as stack:
            servers = []
            for candidate in chosen:
                servers.append(stack.enter_context(candidates.started(candidate, users, setup)))
                for note in _notes(servers[-1], options.methods, count):
                    print(note, file=sys.stderr)
                    notes.append(note)
            for number in range(options.rounds):
                picked = pick(users, number)
                for in_flight, method, server in _turns(servers, options.in_flight, options.methods, number):
                    case = Case(count, method.name, in_flight, server.candidate.name)
                    result = measure(server, method, picked, in_flight, options.seconds, cores)
                    measured.setdefault(case, []).append(result)
                print(f"round {number + 1} of {options.rounds} with {count:,} users is done", file=sys.stderr)
    if not measured:
        raise LoadError("no candidate has any of these methods")
    return report.rows_of(measured)


def _turns(
    servers: list[Running], in_flight: list[int], names: list[str], number: int
) -> Iterator[tuple[int, Method, Running]]:
    """Yield the measurements of a round. For each method the candidates take turns; each round starts with another
    one."""
    first = number % len(servers)
    for calls in in_flight:
        for name in names:
            for server in servers[first:] + servers[:first]:
                yield from ((calls, method, server) for method in server.methods if method.name == name)


def _notes(server: Running, requested: list[str], users: int) -> Iterator[str]:
    name = f"{server.candidate.name}, {users:,} users"
    if server.store is not None:
        yield f"{name}: made in {server.prepare_seconds:.1f} s"
    has = {method.name for method in server.methods}
    if missing := [method for method in requested if method not in has]:
        yield f"{name}: has no {', '.join(missing)}"


def write(rows: list[Row], options: argparse.Namespace, cores: Cores, notes: list[str]) -> None:
    """Print the tables; write the JSON file and the chart."""
    print(report.table(rows))
    multiples = [report.costs(rows), report.ratios(rows, options.baseline) if options.baseline else ""]
    for text in filter(None, multiples):
        print("\n" + text)
    for warning in report.warnings(rows):
        print(f"warning: {warning}", file=sys.stderr)
    options.out.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": {**report.machine(), "server_core": cores.server, "load_core": cores.load},
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()},
        "notes": notes,
        "warnings": report.warnings(rows),
        "rows": [row.as_json() for row in rows],
    }
    (options.out / "bench.json").write_text(json.dumps(document, indent=1) + "\n")
    (options.out / "bench.svg").write_text(picture.svg(rows))
    print(f"{options.out}/bench.json and bench.svg are written", file=sys.stderr)


def main() -> None:
    """Run the benchmark."""
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that the started processes are stopped.
    cores = Cores.of_this_machine()
    pin(cores.load)
    notes: list[str] = []
    try:
        rows = run(options, chosen_candidates(options), cores, notes)
    except LoadError as error:
        sys.exit(f"bench: {error}")
    write(rows, options, cores, notes)


if __name__ == "__main__":
    main()
