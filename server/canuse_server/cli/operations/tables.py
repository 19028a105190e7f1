"""The tables of `canuse top`."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from canuse_server.cli.operations.figures import Figures, quantile
from canuse_server.cli.output import printable

P99: Final = 0.99
_NUMBERS: Final = frozenset({"calls/s", "p99 ms", "per s", "total"})
Rows = Iterable[tuple[float, float, Sequence[str]]]
"""What a second has, what there was in total, and the cells of a row before those."""


def overview(before: Figures, now: Figures, rows: int) -> RenderableType:
    """Return the tables of a server, with the rates between two moments; each has at most so many rows."""
    change = now.since(before)
    return Group(
        _summary(now, change),
        _table(("port", "method", "p99 ms"), "calls/s", _calls(now, change), rows),
        _table(("environment", "feature", "decision"), "per s", _decisions(now, change), rows),
        _table(("port", "method", "refused or failed"), "per s", _refusals(now, change), rows),
        _store(now, change),
    )


def _summary(now: Figures, change: Figures) -> Text:
    build = next((labels for labels, _ in now.of("canuse_build_info")), {})
    workers = f", {now.total('canuse_workers'):.0f} workers" if "canuse_workers" in now.samples else ""
    state = "ready" if now.total("canuse_store_up") else "NOT READY"
    parts = (
        f"canuse {build.get('version', '?')} ({build.get('transport', '?')}{workers}): {state}",
        f"{change.total('canuse_calls_total') / change.moment:.1f} calls/s",
        f"{now.total('canuse_calls_in_flight'):.0f} in flight",
        f"{now.total('canuse_waiting_bytes'):.0f} bytes waiting",
    )
    return Text(printable(", ".join(parts)) + "\n")


def _calls(now: Figures, change: Figures) -> Rows:
    by_method: dict[tuple[str, str], float] = {}
    for labels, count in now.of("canuse_calls_total"):
        key = (labels["port"], labels["method"])
        by_method[key] = by_method.get(key, 0) + count
    for (port, method), total in by_method.items():
        calls = change.total("canuse_calls_total", port=port, method=method)
        p99 = quantile(change, "canuse_call_duration_seconds", P99, port=port, method=method)
        yield calls / change.moment, total, (port, method, _milliseconds(p99))


def _decisions(now: Figures, change: Figures) -> Rows:
    return _counted(now, change, "canuse_decisions_total", ("environment", "feature", "reason"))


def _refusals(now: Figures, change: Figures) -> Rows:
    rows = _counted(now, change, "canuse_calls_total", ("port", "method", "status"))
    return (row for row in rows if row[2][-1] != "OK")


def _counted(now: Figures, change: Figures, name: str, columns: Sequence[str]) -> Rows:
    """Yield the rows of a counter, with its labels in the columns."""
    for labels, total in now.of(name):
        yield change.total(name, **labels) / change.moment, total, [labels[column] for column in columns]


def _store(now: Figures, change: Figures) -> RenderableType:
    """Return the table of the store and of what servers know of it."""
    table = _empty_table(("store", ""))
    for connection in ("lane", "loop"):
        p99 = quantile(change, "canuse_store_round_trip_seconds", P99, connection=connection)
        table.add_row(f"p99 of a round trip, {connection}, ms", _milliseconds(p99))
    for labels, total in now.of("canuse_store_connection_events_total"):
        table.add_row(labels["event"].replace("_", " "), f"{total:.0f}")
    for labels, total in now.of("canuse_answers_without_store_total"):
        table.add_row(f"answers without the store, {printable(labels['source'])}", f"{total:.0f}")
    for name, title in (
        ("canuse_users", "users"),
        ("canuse_ledger_events", "events in the ledger"),
        ("canuse_catalog_version", "version of the catalogue"),
        ("canuse_catalog_age_seconds", "age of the catalogue, s"),
    ):
        for labels, value in now.of(name):
            table.add_row(f"{title}, {printable(labels['environment'])}", f"{value:.0f}")
    for _, value in now.of("canuse_trim_age_seconds"):
        table.add_row("time since the last trimming pass, s", f"{value:.0f}")
    return table


def _table(columns: Sequence[str], rate: str, rows: Rows, limit: int) -> RenderableType:
    """Return a table of what there is, the busiest first."""
    found = sorted(rows, key=lambda row: (-row[0], -row[1], row[2]))
    table = _empty_table((*columns, rate, "total"))
    for per_second, total, cells in found[:limit]:
        table.add_row(*map(printable, cells), f"{per_second:.1f}", f"{total:.0f}")
    if not found:
        table.add_row("none")
    more = f"… and {len(found) - limit} more\n" if len(found) > limit else ""
    return Group(table, Text(more))


def _empty_table(columns: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True, justify="right" if column in _NUMBERS else "left")
    return table


def _milliseconds(seconds: float | None) -> str:
    """Return the upper bound of a duration."""
    if seconds is None:
        return "-"
    return "> 10000" if seconds == math.inf else f"{seconds * 1000:g}"
