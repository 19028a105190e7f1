"""What can be chosen on the command line, and the candidates that it comes to."""

import argparse
from pathlib import Path
from typing import Final

from bench import candidates
from bench.candidates import Candidate
from bench.http2 import LoadError
from bench.methods import METHODS

BUILT_IN: Final = ("native", "grpcio", "plain")


def options() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure how many calls canuse answers, beside others.")
    names = [method.name for method in METHODS]
    add = parser.add_argument
    add("--built-in", nargs="*", choices=BUILT_IN, default=list(BUILT_IN[:2]), help="this canuse with each transport, "
        "and a plain grpc.aio server with an EVALSHA a call (native grpcio)")  # fmt: skip
    add("--candidate", action="append", default=[], metavar="NAME=COMMAND", help="a server to start; {address} {host} "
        "{port} {redis_url} {redis_port} are filled in")  # fmt: skip
    add("--address", action="append", default=[], metavar="NAME=HOST:PORT[,REDIS_URL]", help="a server that runs; with "
        "REDIS_URL its counters are checked, and if it is a canuse its users are made there")  # fmt: skip
    add("--uncounted", nargs="+", default=[], metavar="NAME", help="candidates that do not count in their store")
    add("--sketch", type=Path, metavar="PATH", help="a sketch of a lane, run as `python PATH PORT REDIS_PORT`")
    add("--baseline", metavar="NAME", help="print how many times as fast as this candidate the others are")
    add("--methods", nargs="+", choices=names, default=names, help="which calls (all)")
    add("--users", type=_count, nargs="+", default=[1, 1000], help="over how many users calls are spread (1 1000)")
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


def chosen(given: argparse.Namespace, folder: Path) -> list[Candidate]:
    """Return the candidates; what one of them needs may be generated into a folder.

    Raises:
        LoadError: there are none, or two have one name.
    """
    found = [candidates.plain() if name == "plain" else candidates.canuse(name) for name in given.built_in]
    if given.sketch:
        found.append(candidates.sketch(given.sketch, folder))
    found += [candidates.by_command(text, given.uncounted) for text in given.candidate]
    found += [candidates.by_address(text, given.uncounted) for text in given.address]
    names = [candidate.name for candidate in found]
    if not names or len(set(names)) < len(names):
        raise LoadError(f"there have to be candidates, each with a name of its own, not: {', '.join(names) or 'none'}")
    if given.baseline and given.baseline not in names:
        raise LoadError(f"the baseline is no candidate: {given.baseline}")
    return found
