"""What all chaos scripts share: a seed, how often they do what they do, and the line with what came of it."""

import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Final

from support.soak import SECONDS

SEED: Final = int(os.environ.get("SOAK_SEED") or 1)
"""What all that is random in a chaos script follows from: the same each time, unless SOAK_SEED says otherwise."""

Report = Callable[..., None]
Rounds = Callable[..., Iterator[random.Random]]


def rounds(soak_seconds: float, short: int, long: int) -> Iterator[random.Random]:
    """Yield what chance each round has: `short` rounds, and in a soak up to `long` while there is time."""
    start = time.monotonic()
    for number in range(long if SECONDS else short):
        if number and SECONDS and time.monotonic() - start > soak_seconds:
            return
        yield random.Random(f"{SEED} {number}")


def line(script: str, figures: dict[str, object]) -> str:
    """Return the line that tells what came of a script: `chaos kill-nine: times=100 lost=0 seed=1`."""
    text = " ".join(f"{name}={value}" for name, value in {**figures, "seed": SEED}.items())
    return f"chaos {script}: {text}"
