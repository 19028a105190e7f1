"""Time to run what is random for as long as there is, and a way to run again what failed."""

import os
import random
import time
from collections.abc import Callable

SECONDS = float(os.environ.get("SOAK_SECONDS") or 0)
"""How long `make soak` takes in all. 0: this is no soak, and its tests are left out."""
SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().getrandbits(32))
"""What all that is random in a soak follows from."""


def soak(seconds: float, run_round: Callable[[int], int]) -> None:
    """Play rounds, each with a seed of its own, until the time is over, but at least one.

    `play` takes the seed and returns how many things it has checked.
    """
    start, seed, rounds, checked = time.monotonic(), SEED, 0, 0
    print(f"\nfor {seconds:.0f} s from seed {SEED}; the same again: make soak SOAK_SEED={SEED}", flush=True)
    while not rounds or time.monotonic() - start < seconds:
        try:
            checked += run_round(seed)
        except BaseException:
            print(f"\nround {rounds + 1} failed. To repeat it: make soak SOAK_SEED={seed} SOAK_SECONDS=1", flush=True)
            raise
        rounds, seed = rounds + 1, random.Random(seed).getrandbits(32)
        print(f"{rounds} rounds, {checked} answers compared in {time.monotonic() - start:.0f} s", flush=True)
