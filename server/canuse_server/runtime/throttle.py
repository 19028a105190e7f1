"""A rate limit for log lines that every call of an outage would repeat."""

import threading
import time


class Throttle:
    """Allows one line per interval, and counts the suppressed ones."""

    def __init__(self, interval_seconds: float) -> None:
        self._interval_seconds = interval_seconds
        self._next_at = 0.0
        self._suppressed = 0
        self._lock = threading.Lock()

    def try_acquire(self) -> int | None:
        """Return the number of lines suppressed before this one, or None if this one is suppressed, too."""
        with self._lock:
            now = time.monotonic()
            if now < self._next_at:
                self._suppressed += 1
                return None
            suppressed, self._suppressed = self._suppressed, 0
            self._next_at = now + self._interval_seconds
            return suppressed
