"""Settings of the Python interpreter for a server that has started."""

import gc
import sys
from typing import Final

GC_THRESHOLDS: Final = (2_000, 5, 2_000)
"""Thresholds of the garbage collector: net allocations between two runs, and numbers of runs until it also scans the
objects that survived one, and all objects. A run keeps the global interpreter lock for 0.1 us an object, so most runs
scan few. All objects are scanned after 20 million net allocations."""
GC_THRESHOLDS_GRPCIO: Final = (10_000, 20, 20)
"""The same with grpc.aio, which leaves a reference cycle with the metadata of each call."""
SWITCH_SECONDS: Final = 0.00005
"""Switch interval of the global interpreter lock with the batch lane, in seconds. The lane needs the lock several times
for a call and waits as long for it each time while another thread computes; the default is a hundred times as long."""


def tune(transport: str) -> None:
    """Adapt the garbage collector and the switches between threads to a transport."""
    # The present objects stay, and calls leave no reference cycles: the collector need not scan all of them.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*(GC_THRESHOLDS if transport == "native" else GC_THRESHOLDS_GRPCIO))
    if transport == "native":
        sys.setswitchinterval(SWITCH_SECONDS)
