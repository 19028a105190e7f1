"""The units of one user and feature that a client may use by itself: how many, and until when. No I/O."""

import math
import time
from collections.abc import Callable
from threading import Lock
from typing import Final

from canuse import v1
from canuse.enums import Reason
from canuse.leases.answers import Word

NEVER: Final = math.inf
_NO_WORD: Final = Word("", Reason.REASON_UNSPECIFIED, v1.Consumption(), 0)


class Units:
    """Units that threads take without a call. Whoever changes an attribute holds `lock`."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Start without any."""
        self.now = now
        self.lock = Lock()
        self.left = 0
        """Units that may be used."""
        self.usable_until = -NEVER
        self.unreported = 0
        """Units used that the server has not recorded yet."""
        self.word = _NO_WORD
        self.low = 0
        """With fewer units left, somebody has to look for more."""

    def take(self, delta: int) -> tuple[Word, int] | None:
        """Use units; return the last word with the units used since, or None if they cannot be used."""
        # Threads that wait for a lock are handed it in turn, with a switch of threads for each use. With 8 threads this
        # is five to nine times as fast.
        while not self.lock.acquire(blocking=False):
            time.sleep(0)
        try:
            left = self.left - delta
            if left < 0 or self.now() >= self.usable_until:
                return None
            self.left = left
            self.unreported = unreported = self.unreported + delta
            return self.word, unreported
        finally:
            self.lock.release()

    def has(self, delta: int) -> tuple[Word, int] | None:
        """Return the same for units that are there, and use none."""
        with self.lock:
            if self.left < delta or self.now() >= self.usable_until:
                return None
            return self.word, self.unreported
