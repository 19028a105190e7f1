"""A store whose data is gone: it came back empty, or was emptied, under a server that runs.

To go on would be to tell everybody that they do not exist, and to begin a second life in which they do not. So the
server treats such a store as one that is unavailable until the data is back or somebody restarts the server, which
takes an empty store for a new one.
"""

import asyncio
from typing import Final

import structlog

from canuse_server.store.errors import StoreUnavailableError

log = structlog.get_logger(__name__)

GONE: Final = (
    "the store's data, or that of a node of the Cluster, is gone: it has no key canuse:schema, or canuse:{b…}:schema. "
    "Restore the data, or restart canuse to go on with what there is"
)


class DataGuard:
    """Keeps all connections to one store from being used while its data is gone. Lanes read it from their threads."""

    def __init__(self) -> None:
        self.is_on = False
        """Whether the store is known to have had data."""
        self.problem = ""
        """Why the store is not used, though it answers; empty where it is used."""
        self.changed = asyncio.Event()
        """Set when there is a problem now, or none any more."""

    def check(self) -> None:
        """Raise StoreUnavailableError where the store is not to be used."""
        if self.problem:
            raise StoreUnavailableError(self.problem)

    def note(self, problem: str) -> None:
        """Take note of what a look at the store's data has shown; empty: all is well."""
        if problem == self.problem:
            return
        if problem:
            log.error("the store is not used any more", cause=problem)
        else:
            log.info("the store's data is there again")
        self.problem = problem
        self.changed.set()
