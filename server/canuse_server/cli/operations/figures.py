"""Figures of a server from its metrics, and what has changed between two of them."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

Labels = dict[str, str]

_SAMPLE: Final = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL: Final = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_ESCAPES: Final = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


@dataclass(frozen=True)
class Figures:
    """The metrics at one moment; `moment` is in seconds."""

    moment: float
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = field(default_factory=dict)
    """By name and labels."""

    @classmethod
    def parse(cls, text: str, moment: float) -> "Figures":
        """Parse Prometheus's text format. Lines that are no samples are left out."""
        samples: defaultdict[str, dict[tuple[tuple[str, str], ...], float]] = defaultdict(dict)
        for line in text.split("\n"):
            if found := _SAMPLE.match(line):
                name, labels, value = found.groups()
                samples[name][tuple(_labels(labels or ""))] = float(value)
        return cls(moment, dict(samples))

    def of(self, name: str) -> Iterator[tuple[Labels, float]]:
        """Yield the labels and values of a metric."""
        yield from ((dict(labels), value) for labels, value in self.samples.get(name, {}).items())

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's values that have some labels."""
        return sum(value for own, value in self.of(name) if labels.items() <= own.items())

    def since(self, before: "Figures") -> "Figures":
        """Return by how much each value has grown. One that went down starts again: the server is another one."""
        grown = {
            name: {
                labels: value - past if value >= (past := before.samples.get(name, {}).get(labels, 0)) else value
                for labels, value in values.items()
            }
            for name, values in self.samples.items()
        }
        return Figures(self.moment - before.moment, grown)


def _labels(text: str) -> Iterator[tuple[str, str]]:
    for name, value in _LABEL.findall(text):
        yield name, re.sub(r"\\.", lambda escape: _ESCAPES.get(escape[0], escape[0]), value)


def quantile(figures: Figures, name: str, share: float, **labels: str) -> float | None:
    """Return the upper bound of the bucket with a quantile of a histogram; None if it is empty."""
    buckets: defaultdict[float, float] = defaultdict(float)
    for own, count in figures.of(f"{name}_bucket"):
        if labels.items() <= own.items():
            buckets[math.inf if own["le"] == "+Inf" else float(own["le"])] += count
    count = buckets.get(math.inf, 0)
    return min((bound for bound, below in buckets.items() if below >= share * count), default=None) if count else None
