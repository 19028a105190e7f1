"""The times of spans: the server measures by `time.monotonic`, and spans have the time of the day."""

import time
from typing import Final

TOLERANCE_NS: Final = 20_000
"""Maximum time between two readings of the clocks that are compared, in nanoseconds."""
MAX_READINGS: Final = 5


def clock_difference() -> int:
    """Return what to add to a time of `time.monotonic_ns` for the time since 1970, in nanoseconds.

    It is read for each call, since the clock may be set while the server runs.
    """
    difference = 0
    for _ in range(MAX_READINGS):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        difference = wall - (before + after) // 2
        # Otherwise another thread has run in between, and the spans would lie outside that of the caller.
        if after - before < TOLERANCE_NS:
            break
    return difference


def wall_clock(seconds: float, difference: int) -> int:
    """Return a time of `time.monotonic` in nanoseconds since 1970."""
    return difference + int(seconds * 1_000_000_000)
