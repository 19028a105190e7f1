"""The options of the command line, and the candidates that they ask for."""

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
    """Read the options."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure how many calls canuse answers, beside others.")
    names = [method.name for method in METHODS]
    add = parser.add_argument
    add("--built-in", nargs="*", choices=BUILT_IN, default=["native", "grpcio"], help="this canuse with each "
        "transport; a plain grpc.aio server; the least that a lane can do (native grpcio)")  # fmt: skip
    add("--candidate", action="append", default=[], metavar="NAME=COMMAND", help="a server to start; {address} {host} "
        "{port} {redis_url} {redis_port} are filled in")  # fmt: skip
    add("--address", action="append", default=[], metavar="NAME=HOST:PORT[,REDIS_URL]", help="a server that runs; with "
        "REDIS_URL its counters are checked, and if it is a canuse its users are made there")  # fmt: skip
    add("--uncounted", nargs="+", default=[], metavar="NAME", help="candidates that do not count in their store")
    add("--baseline", metavar="NAME", help="print the figures of the others as multiples of this candidate's")
    add("--methods", nargs="+", choices=names, default=list(BY_DEFAULT), metavar="METHOD", help="which calls: "
        f"{', '.join(names)}; +id: with a new event id for each use; +metadata: with four pairs; (all but UseFeatures "
        "and +metadata)")  # fmt: skip
    add("--batch", type=_batch, default=BATCH, help=f"items of a batch, up to {MAX_BATCH} ({BATCH})")
    add("--users", type=_count, nargs="+", default=[1, 1000], help="over how many users calls are spread (1 1000)")
    add("--kept-ids", type=int, default=0, help="event ids that each user has from before (0)")
    add("--in-flight", type=_count, nargs="+", default=[1, 32, 128], help="calls at a time (1 32 128)")
    add("--rounds", type=_count, default=3, help="how often each is measured (3)")
    add("--seconds", type=float, default=1.5, help="how long each time (1.5)")
    add("--fsync", choices=("everysec", "always", "no"), default="everysec", help="of the stores (everysec)")
    add("--out", type=Path, default=Path("bench-results"), help="where bench.json and bench.svg go (bench-results)")
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
    """Return the candidates.

    Raises:
        LoadError: there are none, or two have one name.
    """
    found = [BUILT_IN[name]() for name in options.built_in]
    found += [candidates.by_command(text, options.uncounted) for text in options.candidate]
    found += [candidates.by_address(text, options.uncounted) for text in options.address]
    names = [candidate.name for candidate in found]
    if not names or len(set(names)) < len(names):
        raise LoadError(f"there have to be candidates, each with a name of its own, not: {', '.join(names) or 'none'}")
    if options.baseline and options.baseline not in names:
        raise LoadError(f"the baseline is no candidate: {options.baseline}")
    return found
