"""The results as text and JSON: medians of rounds, and ratios between cases."""

import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.measure import Round
from bench.methods import METHODS

BUSY: Final = 0.9
"""Utilization from which on the loader's core, not the server, may be the bottleneck."""
DISTURBED: Final = 0.1
"""CPU time of other programs, as a share of a core, from which on figures are unreliable."""
MEDIANS: Final = tuple(field.name for field in fields(Round) if field.name not in {"answered", "checked"})
BASES: Final = {method.name: method.base for method in METHODS if method.base}
MIB: Final = 2**20


class Case(NamedTuple):
    """A measured case."""

    users: int
    method: str
    in_flight: int
    candidate: str


@dataclass(frozen=True, slots=True)
class Row:
    """The rounds of a case."""

    case: Case
    rounds: Sequence[Round]

    def median(self, name: str) -> float | None:
        """Return the median of a figure, or None if it is unknown."""
        known = [value for each in self.rounds if (value := getattr(each, name)) is not None]
        return statistics.median(known) if known else None

    def times(self, base: "Row", name: str) -> list[float]:
        """Return the ratios of a figure to that of another row, round by round; empty if it is unknown."""
        pairs = (
            (getattr(mine, name), getattr(theirs, name)) for mine, theirs in zip(self.rounds, base.rounds, strict=True)
        )
        return [mine / theirs for mine, theirs in pairs if mine is not None and theirs]

    def as_json(self) -> dict[str, Any]:
        """Return the medians and the rounds."""
        medians = {name: self.median(name) for name in MEDIANS}
        return {**self.case._asdict(), **medians, "rounds": [asdict(each) for each in self.rounds]}


def rows_of(measured: Mapping[Case, Sequence[Round]]) -> list[Row]:
    """Return the rows, sorted by users, method, calls in flight and candidate."""
    order: dict[str, int] = {}
    for case in measured:
        order.setdefault(case.method, len(order))
        order.setdefault(case.candidate, len(order))
    sort_key = {case: (case.users, order[case.method], case.in_flight, order[case.candidate]) for case in measured}
    return [Row(case, measured[case]) for case in sorted(measured, key=sort_key.__getitem__)]


def table(rows: Iterable[Row]) -> str:
    """Return the medians as text."""
    heads = ["users", "method", "in flight", "candidate", "calls/s", "items/s", "p50 us", "p99 us", "p99.9 us"]
    heads += ["server us/item", "store us/item", "server MiB", "store MiB"]
    lines = [heads]
    for row in rows:
        names = ("calls_per_second", "items_per_second", "p50_us", "p99_us", "p999_us")
        line = _case(row)
        line += [_number(row.median(name), 0) for name in names]
        line += [_number(row.median(name), 1) for name in ("server_cpu_us", "store_cpu_us")]
        line += [_number(row.median(name), 0, MIB) for name in ("server_bytes", "store_bytes")]
        lines.append(line)
    return _aligned(lines)


def ratios(rows: Sequence[Row], baseline: str) -> str:
    """Return a text with the ratios to the baseline candidate: medians of the ratios in each round.

    Each method is compared to the same method of the baseline, or to its only one.
    """
    methods = {row.case.method for row in rows if row.case.candidate == baseline}

    def base(case: Case) -> Case:
        method = case.method if case.method in methods or len(methods) != 1 else next(iter(methods))
        return case._replace(method=method, candidate=baseline)

    return _multiples(rows, base, f"times {baseline}")


def costs(rows: Sequence[Row]) -> str:
    """Return a text with the costs of event ids, metadata and batches: the ratio of each method to its base. Empty if
    no such pair was measured."""
    return _multiples(rows, lambda case: case._replace(method=BASES.get(case.method, case.method)), "times", "than")


def _multiples(rows: Sequence[Row], base_of: Callable[[Case], Case], head: str, base_head: str = "") -> str:
    by_case = {row.case: row for row in rows}
    heads = ["users", "method", "in flight", "candidate", *([base_head] if base_head else []), head, "in each round"]
    lines = [[*heads, "p50 times", "server us times", "store us times"]]
    for row in rows:
        base = by_case.get(base_of(row.case))
        if base is None or base is row:
            continue
        speed = row.times(base, "items_per_second")
        line = [*_case(row), *([base.case.method] if base_head else []), f"{statistics.median(speed):.2f}"]
        line.append(" ".join(f"{ratio:.2f}" for ratio in speed))
        others = (row.times(base, name) for name in ("p50_us", "server_cpu_us", "store_cpu_us"))
        line += [_number(statistics.median(times) if times else None, 2) for times in others]
        lines.append(line)
    return _aligned(lines) if len(lines) > 1 else ""


def warnings(rows: Sequence[Row]) -> list[str]:
    """Return warnings about figures that may be misleading."""
    texts = []
    if busy := [_name(row) for row in rows if (row.median("load_share") or 0) >= BUSY]:
        texts.append(f"loader and store kept their core busy, so the server may be faster: {'; '.join(busy)}")
    others = [share for row in rows if (share := row.median("others_share")) is not None]
    if disturbed := [share for share in others if share >= DISTURBED]:
        part = f"{len(disturbed)} of {len(others)} measurements"
        texts.append(
            f"the machine is not quiet: in {part} other programs took up to {100 * max(disturbed):.0f} % of a core"
        )
    if unchecked := sorted({row.case.candidate for row in rows if not all(each.checked for each in row.rounds)}):
        texts.append(f"answers were checked, but no counter in a store: {', '.join(unchecked)}")
    return texts


def _case(row: Row) -> list[str]:
    case = row.case
    return [f"{case.users:,}", case.method, str(case.in_flight), case.candidate]


def _name(row: Row) -> str:
    case = row.case
    return f"{case.candidate} {case.method}, {case.users:,} users, {case.in_flight} in flight"


def machine() -> dict[str, Any]:
    """Return the properties of this machine."""
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


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    left_aligned = {lines[0].index(name) for name in ("method", "candidate", "than") if name in lines[0]}
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            word.ljust(width) if column in left_aligned else word.rjust(width)
            for column, (word, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
