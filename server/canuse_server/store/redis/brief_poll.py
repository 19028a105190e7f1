"""Polls for a reply for a short time before the thread sleeps: to wake it up takes 10 to 20 µs of a call."""

import select
import time
from typing import Final

POLL_SECONDS: Final = 0.0001
"""Maximum time for which is polled."""
MAX_LATE: Final = 3
"""Number of replies in succession that take longer, after which is not polled for a while."""
PAUSE_SECONDS: Final = 0.1
"""That while: with a distant store, polling takes 0.3 % of a core."""


class BriefPoll:
    """Polls one connection. `poll` has only this connection."""

    def __init__(self, poll: select.poll) -> None:
        self._poll = poll
        self._late = 0
        self.paused_until = 0.0
        """Time until which is not polled, by `time.monotonic`."""

    def wait(self) -> None:
        """Return as soon as there is data to read, or after a short time."""
        now = time.monotonic()
        if now < self.paused_until:
            return
        end = now + POLL_SECONDS
        while now < end:
            if self._poll.poll(0):
                self._late = 0
                return
            now = time.monotonic()
        self._late += 1
        if self._late == MAX_LATE:
            self._late, self.paused_until = 0, now + PAUSE_SECONDS
