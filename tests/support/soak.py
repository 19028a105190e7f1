"""Runs random tests for a given time, and prints how to repeat a failure."""

import os
import random
import time
from collections.abc import Callable

SECONDS = float(os.environ.get("SOAK_SECONDS") or 0)
"""Duration of `make soak` in all. 0 means that this is no soak, and its tests are left out."""
SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().getrandbits(32))
"""The seed of all random choices in a soak."""


def soak(seconds: float, run_round: Callable[[int], int]) -> None:
    """Run rounds with different seeds until the time is up, but at least one.

    `run_round` takes the seed and returns how many answers it has compared.
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
