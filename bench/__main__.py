"""Measure: `make bench`, or `python -m bench --help`.

The candidates run in turns, so that a machine whose speed drifts favours none, and each figure is the median of all
rounds. After each run the counter has to have advanced by exactly the number of calls.
"""

import argparse
import json
import os
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path

from bench import load, subject

TRANSPORTS = ("native", "grpcio")


def measure(options: argparse.Namespace) -> list[dict[str, object]]:
    """Return a row for each candidate, method and number of calls in flight."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    server_core, load_core = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    runs: dict[tuple[str, str, int], list[load.Load]] = {}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(subject.canuse(name, server_core)) for name in options.transports}
        for _ in range(options.rounds):
            for method in options.methods:
                for in_flight in options.in_flight:
                    for name, address in servers.items():
                        done = _run(address, method, options.requests, in_flight, load_core)
                        runs.setdefault((name, method, in_flight), []).append(done)
    return [_row(*key, loads) for key, loads in runs.items()]


def _run(address: str, method: str, requests: int, in_flight: int, core: int | None) -> load.Load:
    before = subject.used(address)
    payload = subject.REQUESTS[method].SerializeToString()
    done = load.run(address, subject.SERVICE + method, payload, requests, in_flight, core)
    counted = subject.used(address) - before
    expected = done.succeeded if method in subject.COUNTED else 0
    if counted != expected:
        raise load.LoadError(f"{method}: {done.succeeded} answers, and {counted} were counted")
    return done


def _row(name: str, method: str, in_flight: int, loads: list[load.Load]) -> dict[str, object]:
    return {
        "transport": name,
        "method": method,
        "in_flight": in_flight,
        "requests_per_second": round(statistics.median(done.requests_per_second for done in loads)),
        "mean_microseconds": round(statistics.median(done.mean_seconds for done in loads) * 1e6),
        "rounds": len(loads),
    }


def main() -> None:
    """Read the options, measure, print a table."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure how many calls canuse answers.")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--requests", type=int, default=20_000, help="calls in one measurement (20000)")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 32, 128], help="calls at a time (1 32 128)")
    parser.add_argument("--methods", nargs="+", choices=subject.REQUESTS, default=list(subject.REQUESTS))
    parser.add_argument("--transports", nargs="+", choices=TRANSPORTS, default=list(TRANSPORTS))
    parser.add_argument("--json", type=Path, help="a file to write the figures to")
    options = parser.parse_args()
    try:
        rows = measure(options)
    except load.LoadError as error:
        sys.exit(f"bench: {error}")
    print(f"{'transport':10} {'method':18} {'in flight':>9} {'req/s':>9} {'mean us':>9}")
    for row in rows:
        print("{transport:10} {method:18} {in_flight:9} {requests_per_second:9} {mean_microseconds:9}".format(**row))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
