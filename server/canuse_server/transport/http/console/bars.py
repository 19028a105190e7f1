"""Bars and charts as numbers: where each part begins and how wide it is, in percent. Templates draw them as SVG."""

from collections.abc import Sequence
from typing import NamedTuple

from canuse.v1.consumption_pb2 import Consumption


class Part(NamedTuple):
    """A part of a bar."""

    kind: str
    start: float
    width: float


class Bar(NamedTuple):
    """The use of a budget."""

    parts: list[Part]
    budget_at: float
    """Where the budget ends."""
    text: str
    """The same in words."""
    overage: int


def usage_bar(counts: Consumption) -> Bar | None:
    """Return the bar of a use: used, reserved, and beyond the budget. None where there is no budget."""
    if not counts.HasField("budget"):
        return None
    budget, taken = counts.budget, counts.used + counts.reserved
    whole = max(budget, taken, 1)
    within, overage = min(counts.used, budget), max(counts.used - budget, 0)
    parts, start = [], 0.0
    for kind, amount in (("used", within), ("overage", overage), ("reserved", counts.reserved)):
        if amount:
            width = 100 * amount / whole
            parts.append(Part(kind, round(start, 2), round(width, 2)))
            start += width
    text = f"{counts.used:,} of {budget:,} used"
    text += f", {counts.reserved:,} reserved" if counts.reserved else ""
    text += f", {overage:,} beyond the budget" if overage else ""
    return Bar(parts, round(100 * budget / whole, 2), text, overage)


class Column(NamedTuple):
    """A column of a chart. Heights are in percent of the chart."""

    label: str
    title: str
    x: float
    width: float
    base: float
    """Height of the part within the budget."""
    top: float
    """Height of the part beyond it."""


class Chart(NamedTuple):
    """A chart of columns."""

    columns: list[Column]
    highest: int
    step: int
    """Every how many columns a label is shown, so that labels do not overlap."""


_MAX_LABELS = 6


def chart(rows: Sequence[tuple[str, str, int, int]]) -> Chart:
    """Return a chart of rows: label, title, amount, and how much of it is beyond the budget."""
    highest = max((amount for _, _, amount, _ in rows), default=0)
    slot = 100 / max(len(rows), 8)
    columns = []
    for place, (label, title, amount, beyond) in enumerate(rows):
        whole = 100 * max(amount, 0) / max(highest, 1)
        over = 100 * max(min(beyond, amount), 0) / max(highest, 1)
        columns.append(
            Column(label, title, round(place * slot + slot * 0.12, 3), round(slot * 0.76, 3), whole - over, over)
        )
    return Chart(columns, highest, -(-len(rows) // _MAX_LABELS) or 1)
