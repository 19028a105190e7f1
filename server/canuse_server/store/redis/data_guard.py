"""Protection against a store that loses its data while a server runs: it restarted empty or was flushed.

Without it, the server would answer that no user exists, and start to write new data. So the server treats such a store
as unavailable until the data is back or the server is restarted. A restarted server accepts an empty store as new.
"""

import asyncio
from typing import Final

import structlog

from canuse_server.store.errors import StoreUnavailableError

log = structlog.get_logger(__name__)

GONE: Final = (
    "the store, or a node of the Cluster, has lost its data: the key canuse:schema or canuse:{b…}:schema is missing. "
    "Restore the data, or restart canuse to continue with the data that is left"
)
BLOCKED: Final = "SetStoreAvailability has made the store unavailable"


class DataGuard:
    """Blocks all connections to one store while its data is gone. Threads of the lane read it."""

    def __init__(self) -> None:
        self.is_on = False
        """Whether the store is known to have data."""
        self.problem = ""
        """The reason why the store is blocked; empty if it is not."""
        self.changed = asyncio.Event()
        """Set when `problem` changes."""
        self._blocked = False

    def check(self) -> None:
        """Raise StoreUnavailableError if the store is blocked."""
        if self.problem:
            raise StoreUnavailableError(self.problem)

    def block(self, blocked: bool) -> None:
        """Treat the store as unavailable whatever its data is, or no longer: for tests of callers."""
        self._blocked = blocked
        self.note("")

    def note(self, problem: str) -> None:
        """Note the result of a check of the data: the problem, or empty."""
        if self._blocked:
            problem = BLOCKED
        if problem == self.problem:
            return
        if problem:
            log.error("the store is no longer used", cause=problem)
        else:
            log.info("the store's data is available again")
        self.problem = problem
        self.changed.set()
