"""Forks: a forked process needs a connection of its own, and after some states of gRPC it cannot have one.

gRPC survives a fork while no call is in flight, unless `GRPC_ENABLE_FORK_SUPPORT` forbids it. With `grpc.aio`, whose
threads never rest, and with calls in flight, the forked process would hang or abort.
"""

import os
import threading
from typing import Final

in_flight: Final[set[object]] = set()
"""One entry for each call of this process that is in flight, from all synchronous clients."""
_abandoned: Final[list[object]] = []
_DISABLED: Final = frozenset({"0", "false", "no", "n", "off"})
"""Values of `GRPC_ENABLE_FORK_SUPPORT`."""
_ADVICE: Final = (
    "Make the first call after the fork: a client that has made no call yet can be forked. Or start processes without "
    'a fork: multiprocessing.get_context("spawn")'
)


class _Process:
    """What this process inherited, and what it has opened itself."""

    def __init__(self) -> None:
        self.generation = 0
        """How many forks lie between this process and the one that imported canuse."""
        self.lock = threading.Lock()
        """Held while a client opens a channel. A new one in each process: threads before the fork may have held it."""
        self.opened = False
        self.opened_aio = False
        self.broken_by = ""
        """Why gRPC cannot be used in this process. Empty: it can."""

    def forked(self) -> None:
        """Note, in a new process, in what state gRPC was when it was forked."""
        self.generation += 1
        self.lock = threading.Lock()
        if self.opened_aio:
            self.broken_by = "had used a canuse.AsyncClient"
        elif in_flight:
            self.broken_by = "had calls of a canuse.Client in flight"
        elif self.opened and os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").lower() in _DISABLED:
            self.broken_by = "had used a canuse.Client, with GRPC_ENABLE_FORK_SUPPORT turned off"
        in_flight.clear()


process: Final = _Process()
os.register_at_fork(after_in_child=process.forked)


def before_opening(*, aio: bool) -> None:
    """Note that this process opens a channel; RuntimeError if gRPC would hang or abort in it."""
    if process.broken_by:
        raise RuntimeError(
            f"canuse cannot be called in this process: it was forked from one that {process.broken_by}. {_ADVICE}"
        )
    process.opened = True
    process.opened_aio = process.opened_aio or aio


def abandon(connection: object) -> None:
    """Keep what belongs to the process before the fork: closing or freeing it here could hang."""
    _abandoned.append(connection)
