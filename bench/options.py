"""The command line options, and the candidates that they select."""

import argparse
from pathlib import Path
from typing import Final

from bench import candidates
from bench.candidates import Candidate
from bench.http2 import LoadError
from bench.methods import BATCH, BY_DEFAULT, METHODS

BUILT_IN: Final = {
    "native": lambda: candidates.canuse("native"),
    "grpcio": lambda: candidates.canuse("grpcio"),
    "plain": candidates.plain,
    "bare-lane": candidates.bare_lane,
}
MAX_BATCH: Final = 1000


def parse_options() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure how many calls canuse answers, beside others.")
    names = [method.name for method in METHODS]
    add = parser.add_argument
    add("--built-in", nargs="*", choices=BUILT_IN, default=["native", "grpcio"], help="this canuse with each "
        "transport; a plain grpc.aio server; a minimal lane (native grpcio)")  # fmt: skip
    add("--candidate", action="append", default=[], metavar="NAME=COMMAND", help="a server to start; {address} {host} "
        "{port} {redis_url} {redis_port} are replaced")  # fmt: skip
    add("--address", action="append", default=[], metavar="NAME=HOST:PORT[,REDIS_URL]", help="a running server; with "
        "REDIS_URL its counters are checked, and if it is a canuse its users are created there")  # fmt: skip
    add("--uncounted", nargs="+", default=[], metavar="NAME", help="candidates that do not count in their store")
    add("--baseline", metavar="NAME", help="print the ratios of the other candidates to this one")
    add("--methods", nargs="+", choices=names, default=list(BY_DEFAULT), metavar="METHOD", help="methods: "
        f"{', '.join(names)}; +id: with a new event id for each use; +metadata: with four pairs; (all but UseFeatures "
        "and +metadata)")  # fmt: skip
    add("--batch", type=_batch, default=BATCH, help=f"items of a batch, up to {MAX_BATCH} ({BATCH})")
    add(
        "--users",
        type=_count,
        nargs="+",
        default=[1, 1000],
        help="numbers of users over which calls are distributed (1 1000)",
    )
    add("--kept-ids", type=int, default=0, help="event ids stored for each user in advance (0)")
    add("--in-flight", type=_count, nargs="+", default=[1, 32, 128], help="numbers of concurrent calls (1 32 128)")
    add("--rounds", type=_count, default=3, help="number of measurements of each case (3)")
    add("--seconds", type=float, default=1.5, help="duration of a measurement (1.5)")
    add("--fsync", choices=("everysec", "always", "no"), default="everysec", help="of the stores (everysec)")
    add("--out", type=Path, default=Path("bench-results"), help="folder for bench.json and bench.svg (bench-results)")
    return parser.parse_args()


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _batch(text: str) -> int:
    number = _count(text)
    if number > MAX_BATCH:
        raise argparse.ArgumentTypeError(f"must be {MAX_BATCH} or less")
    return number


def chosen_candidates(options: argparse.Namespace) -> list[Candidate]:
    """Return the selected candidates.

    Raises:
        LoadError: there are none, or two have the same name.
    """
    chosen = [BUILT_IN[name]() for name in options.built_in]
    chosen += [candidates.by_command(text, options.uncounted) for text in options.candidate]
    chosen += [candidates.by_address(text, options.uncounted) for text in options.address]
    names = [candidate.name for candidate in chosen]
    if not names or len(set(names)) < len(names):
        raise LoadError(f"each candidate needs a name of its own, not: {', '.join(names) or 'none'}")
    if options.baseline and options.baseline not in names:
        raise LoadError(f"the baseline is not a candidate: {options.baseline}")
    return chosen
