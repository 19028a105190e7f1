"""The clock by which leases expire."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

# `time.monotonic` stands still while a Linux machine is suspended, and the lease expires meanwhile.
clock: Final[Callable[[], float]] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Seconds from an arbitrary time on, that never go back."""
