"""Log lines about things that are met again and again: each thing is told of once."""

import threading
from collections.abc import Hashable

THINGS_AT_MOST = 1000


class Once:
    """Remembers what was told; when it is full it starts afresh."""

    def __init__(self) -> None:
        self._told: set[Hashable] = set()
        self._lock = threading.Lock()

    def is_new(self, thing: Hashable) -> bool:
        """Return whether a thing was not told of before; from now on it was."""
        with self._lock:
            if thing in self._told:
                return False
            if len(self._told) >= THINGS_AT_MOST:
                self._told.clear()
            self._told.add(thing)
            return True
