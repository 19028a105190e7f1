"""The deadline of a shutdown."""

import time
from collections.abc import Callable


class Deadline:
    """A deadline that starts when `remaining` is first called."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._expires_at: float | None = None

    def remaining(self) -> float:
        """Return the remaining time in seconds; 0 if the deadline has passed."""
        now = self._clock()
        if self._expires_at is None:
            self._expires_at = now + self._seconds
        return max(0.0, self._expires_at - now)
