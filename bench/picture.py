"""The results as an SVG chart: a row of panels for each method. For each number of users, one panel shows items per
second as bars, and the next one the latency by calls in flight."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from bench.report import Case, Row

COLOURS: Final = ("#1b6ca8", "#e07a1f", "#4a9c5d", "#8a4fa3", "#b23a48", "#6d6d6d", "#b59410", "#2a9d8f")
WIDTH, HEIGHT = 330, 190
"""Size of a panel's plot, in pixels."""
LEFT, TOP, GAP, BOTTOM = 62, 34, 24, 34
"""Margins of a plot: for its axis, its title, the next panel, its labels."""
HEAD: Final = 46
DASHES: Final = ' stroke-dasharray="4 3"'
GRID: Final = "#dddddd"
TEXT: Final = "#333333"


@dataclass(frozen=True, slots=True)
class _Panel:
    """A panel: its position and its rows."""

    x: float
    y: float
    rows: dict[Case, Row]
    candidates: Sequence[str]
    colours: dict[str, str]
    in_flight: Sequence[int]

    def at(self, in_flight: int, candidate: str) -> Row | None:
        """Return the row of a candidate."""
        matches = (row for case, row in self.rows.items() if (case.in_flight, case.candidate) == (in_flight, candidate))
        return next(matches, None)


def svg(rows: Sequence[Row]) -> str:
    """Return the chart."""
    methods = list(dict.fromkeys(row.case.method for row in rows))
    users = sorted({row.case.users for row in rows})
    in_flight = sorted({row.case.in_flight for row in rows})
    candidates = list(dict.fromkeys(row.case.candidate for row in rows))
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(candidates)}
    panel_width, panel_height = LEFT + WIDTH + GAP, TOP + HEIGHT + BOTTOM
    width, height = 2 * len(users) * panel_width, HEAD + len(methods) * panel_height
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" fill="{TEXT}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *_legend(colours),
    ]
    for line, method in enumerate(methods):
        for column, count in enumerate(users):
            panel_rows = {row.case: row for row in rows if (row.case.method, row.case.users) == (method, count)}
            present = [name for name in candidates if any(case.candidate == name for case in panel_rows)]
            x, y = 2 * column * panel_width + LEFT, HEAD + line * panel_height + TOP
            title = f"{method}, {count:,} user{'s' if count > 1 else ''}"
            panel = _Panel(x, y, panel_rows, present, colours, in_flight)
            parts += _bars(panel, f"{title}: items/s")
            parts += _curves(_Panel(x + panel_width, y, panel_rows, present, colours, in_flight), f"{title}: latency")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(colours: dict[str, str]) -> Iterator[str]:
    x = float(LEFT)
    for name, colour in colours.items():
        yield f'<rect x="{x}" y="14" width="12" height="12" fill="{colour}"/>'
        yield _text(x + 17, 24, name, "start", 12)
        x += 40 + 7.5 * len(name)
    for name, dashes, fill in (("p50", "", TEXT), ("p99", DASHES, "white")):
        yield f'<line x1="{x}" y1="20" x2="{x + 30}" y2="20" stroke="{TEXT}" stroke-width="2"{dashes}/>'
        yield _dot(x + 15, 20, TEXT, fill)
        yield _text(x + 35, 24, name, "start", 12)
        x += 72


def _bars(panel: _Panel, title: str) -> Iterator[str]:
    values = [row.median("items_per_second") or 0 for row in panel.rows.values()]
    top = _round_up(max(values, default=1))
    yield from _frame(panel, title, [(share / 4, _short(top * share / 4)) for share in range(5)])
    slot = WIDTH / len(panel.in_flight)
    width = min(0.8 * slot / max(len(panel.candidates), 1), 40)
    for group, in_flight in enumerate(panel.in_flight):
        middle = panel.x + slot * (group + 0.5)
        yield _text(middle, panel.y + HEIGHT + 15, f"{in_flight} in flight", "middle")
        start = middle - width * len(panel.candidates) / 2
        for number, name in enumerate(panel.candidates):
            row = panel.at(in_flight, name)
            if row is None:
                continue
            value = row.median("items_per_second") or 0
            height, x = HEIGHT * value / top, start + width * number
            colour = panel.colours[name]
            yield _box(x + 1, panel.y + HEIGHT - height, width - 2, height, colour)
            yield _text(x + width / 2, panel.y + HEIGHT - height - 3, _short(value), "middle", 9)


def _curves(panel: _Panel, title: str) -> Iterator[str]:
    values = [value for row in panel.rows.values() for name in ("p50_us", "p99_us") if (value := row.median(name))]
    low, high = math.floor(math.log10(min(values, default=1))), math.ceil(math.log10(max(values, default=10)))
    span = max(high - low, 1)
    ticks = [(power / span, _time(10.0 ** (low + power))) for power in range(span + 1)]
    yield from _frame(panel, title, ticks)
    slot = WIDTH / len(panel.in_flight)
    positions = {in_flight: panel.x + slot * (number + 0.5) for number, in_flight in enumerate(panel.in_flight)}
    for in_flight, x in positions.items():
        yield _text(x, panel.y + HEIGHT + 15, f"{in_flight} in flight", "middle")
    for name in panel.candidates:
        colour = panel.colours[name]
        for figure, dashes, fill in (("p50_us", "", colour), ("p99_us", DASHES, "white")):
            points = []
            for in_flight, x in positions.items():
                row = panel.at(in_flight, name)
                value = row.median(figure) if row else None
                if value:
                    points.append((x, panel.y + HEIGHT * (1 - (math.log10(value) - low) / span)))
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
            yield from (_dot(x, y, colour, fill) for x, y in points)


def _frame(panel: _Panel, title: str, ticks: Sequence[tuple[float, str]]) -> Iterator[str]:
    """Draw the title, and a grid line for each tick at its share of the height."""
    yield _text(panel.x, panel.y - 12, title, "start", 13)
    for share, name in ticks:
        y = panel.y + HEIGHT * (1 - share)
        yield f'<line x1="{panel.x}" y1="{y:.1f}" x2="{panel.x + WIDTH}" y2="{y:.1f}" stroke="{GRID}"/>'
        yield _text(panel.x - 6, y + 4, name, "end")


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _dot(x: float, y: float, colour: str, fill: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'


def _text(x: float, y: float, text: str, anchor: str, size: int = 11) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _round_up(value: float) -> float:
    """Return the next round number, with space for a label above the highest bar."""
    step: float = 10 ** math.floor(math.log10(max(value, 1)))
    return next(factor * step for factor in (1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10, 12) if factor * step >= 1.05 * value)


def _short(value: float) -> str:
    if value >= 999_500:
        return f"{value / 1e6:.2f}M"
    return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"


def _time(microseconds: float) -> str:
    if microseconds >= 1e6:
        return f"{microseconds / 1e6:g} s"
    return f"{microseconds / 1000:g} ms" if microseconds >= 1000 else f"{microseconds:g} µs"
