"""What is told of the measurements: medians of rounds, a table, ratios, JSON."""

import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.measure import Round

BUSY: Final = 0.9
"""From this share of its time on the loader's core, not the server, may be what limits."""
DISTURBED: Final = 0.1
"""From this part of a core on that other programs take, figures drift."""
MEDIANS: Final = tuple(field.name for field in fields(Round) if field.name not in {"answered", "checked"})
MIB: Final = 2**20


class What(NamedTuple):
    """What was measured."""

    users: int
    method: str
    in_flight: int
    candidate: str


@dataclass(frozen=True, slots=True)
class Row:
    """The rounds of one thing that was measured."""

    what: What
    rounds: Sequence[Round]

    def median(self, name: str) -> float | None:
        """Return the median of a figure, None where it is not known."""
        known = [value for each in self.rounds if (value := getattr(each, name)) is not None]
        return statistics.median(known) if known else None

    def as_json(self) -> dict[str, Any]:
        """Return the medians, and the rounds that they are of."""
        medians = {name: self.median(name) for name in MEDIANS}
        return {**self.what._asdict(), **medians, "rounds": [asdict(each) for each in self.rounds]}


def rows_of(measured: Mapping[What, Sequence[Round]]) -> list[Row]:
    """Return the rows in the order of users, method, calls in flight; candidates in the order they were given in."""
    order: dict[str, int] = {}
    for what in measured:
        order.setdefault(what.method, len(order))
        order.setdefault(what.candidate, len(order))
    sort_key = {what: (what.users, order[what.method], what.in_flight, order[what.candidate]) for what in measured}
    return [Row(what, measured[what]) for what in sorted(measured, key=sort_key.__getitem__)]


def table(rows: Iterable[Row]) -> str:
    """Return the medians as text."""
    heads = ["users", "method", "in flight", "candidate", "req/s", "decisions/s", "p50 us", "p99 us", "p99.9 us"]
    heads += ["server us", "store us", "server MiB", "store MiB"]
    lines = [heads]
    for row in rows:
        what = row.what
        names = ("requests_per_second", "decisions_per_second", "p50_us", "p99_us", "p999_us")
        line = [f"{what.users:,}", what.method, str(what.in_flight), what.candidate]
        line += [_number(row.median(name), 0) for name in names]
        line += [_number(row.median(name), 1) for name in ("server_cpu_us", "store_cpu_us")]
        line += [_number(row.median(name), 0, MIB) for name in ("server_bytes", "store_bytes")]
        lines.append(line)
    return _aligned(lines, left=(1, 3))


def ratios(rows: Sequence[Row], baseline: str) -> str:
    """Return, as text, how many times as fast as the baseline each is, round by round: the median of that.

    The baseline's same method is taken; if it has but one method, that one.
    """
    by_what = {row.what: row for row in rows}
    methods = {row.what.method for row in rows if row.what.candidate == baseline}
    lines = [["users", "method", "in flight", "candidate", f"times {baseline}", "in each round", "p50 times"]]
    for row in rows:
        method = row.what.method if row.what.method in methods or len(methods) != 1 else next(iter(methods))
        base = by_what.get(row.what._replace(method=method, candidate=baseline))
        if base is None or base is row:
            continue
        pairs = list(zip(row.rounds, base.rounds, strict=True))
        each = [mine.decisions_per_second / theirs.decisions_per_second for mine, theirs in pairs]
        p50 = statistics.median(mine.p50_us / theirs.p50_us for mine, theirs in pairs)
        what = row.what
        line = [f"{what.users:,}", what.method, str(what.in_flight), what.candidate]
        line += [f"{statistics.median(each):.2f}", " ".join(f"{ratio:.2f}" for ratio in each), f"{p50:.2f}"]
        lines.append(line)
    return _aligned(lines, left=(1, 3))


def warnings(rows: Sequence[Row]) -> list[str]:
    """Say where figures are not what they seem."""
    found = []
    if busy := [_name(row) for row in rows if (row.median("load_share") or 0) >= BUSY]:
        found.append(f"loader and store kept their core busy, so the server may be faster: {'; '.join(busy)}")
    others = [share for row in rows if (share := row.median("others_share")) is not None]
    if disturbed := [share for share in others if share >= DISTURBED]:
        most = 100 * max(disturbed)
        part = f"{len(disturbed)} of {len(others)} measurements"
        found.append(f"the machine is not quiet: in {part} other programs took up to {most:.0f} % of a core")
    if unchecked := sorted({row.what.candidate for row in rows if not all(each.checked for each in row.rounds)}):
        found.append(f"answers were checked, but no counter in a store: {', '.join(unchecked)}")
    return found


def _name(row: Row) -> str:
    what = row.what
    return f"{what.candidate} {what.method}, {what.users:,} users, {what.in_flight} in flight"


def machine() -> dict[str, Any]:
    """Return what the measurements were made on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def _number(value: float | None, digits: int, unit: float = 1) -> str:
    return "-" if value is None else f"{value / unit:,.{digits}f}"


def _aligned(lines: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            word.ljust(width) if place in left else word.rjust(width)
            for place, (word, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
