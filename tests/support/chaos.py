"""Shared by all chaos scripts: the seed, the number of rounds, and the format of their figures."""

import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Final

from support.soak import SECONDS

SEED: Final = int(os.environ.get("SOAK_SEED") or 1)
"""The seed of every random choice in a chaos script; SOAK_SEED sets another one."""

Report = Callable[..., None]
Rounds = Callable[..., Iterator[random.Random]]


def rounds(soak_seconds: float, short: int, long: int) -> Iterator[random.Random]:
    """Yield random numbers for each round: `short` rounds, or in a soak up to `long` while time remains."""
    start = time.monotonic()
    for number in range(long if SECONDS else short):
        if number and SECONDS and time.monotonic() - start > soak_seconds:
            return
        yield random.Random(f"{SEED} {number}")


def line(script: str, figures: dict[str, object]) -> str:
    """Return the line of figures of a script: `chaos kill-nine: times=100 lost=0 seed=1`."""
    text = " ".join(f"{name}={value}" for name, value in {**figures, "seed": SEED}.items())
    return f"chaos {script}: {text}"
