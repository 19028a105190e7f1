"""Settings of the Python interpreter for a server that has started."""

import gc
import sys
from typing import Final

GC_THRESHOLD: Final = 50_000
"""Generation-0 threshold of the garbage collector: net allocations between two runs."""
GC_THRESHOLD_GRPCIO: Final = 10_000
"""The same with grpc.aio, which leaves a reference cycle with the metadata of each call."""
SWITCH_SECONDS: Final = 0.0005
"""Switch interval of the global interpreter lock with the batch lane, in seconds. The lane needs the lock several times
for a call and waits as long for it each time while the event loop is busy; the default is ten times as long."""


def tune(transport: str) -> None:
    """Adapt the garbage collector and the switches between threads to a transport."""
    # The present objects stay, and calls leave no reference cycles: the collector need not scan all of them.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD if transport == "native" else GC_THRESHOLD_GRPCIO, 20, 20)
    if transport == "native":
        sys.setswitchinterval(SWITCH_SECONDS)
