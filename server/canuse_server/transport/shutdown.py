"""The time that a server has to end in."""

import time
from collections.abc import Callable


class Deadline:
    """So many seconds in all, from when it is first asked how many are left."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._ends: float | None = None

    def remaining(self) -> float:
        """Return how many seconds are left; 0 where they are over."""
        now = self._clock()
        if self._ends is None:
            self._ends = now + self._seconds
        return max(0.0, self._ends - now)
