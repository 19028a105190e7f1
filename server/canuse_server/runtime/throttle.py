"""Log lines that come with every call of an outage, thinned out."""

import threading
import time


class Throttle:
    """Lets one line through a while, and counts those that it holds back."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0
        self._held_back = 0
        self._lock = threading.Lock()

    def let_through(self) -> int | None:
        """Return how many lines were held back before this one, or None where this one is to be held back."""
        with self._lock:
            now = time.monotonic()
            if now < self._next:
                self._held_back += 1
                return None
            held_back, self._held_back = self._held_back, 0
            self._next = now + self._seconds
            return held_back
