"""How long one call waits for the store in all: for connections, repairs and scripts that are loaded again."""

import math
import time


class StoreDeadline:
    """Until when a call waits for the store, on the clock of `time.monotonic`, which is also that of the event loop.

    A `sliding` deadline starts again with each reply: a call that needs many round trips may go on as long as the store
    answers. `since` is when the first period starts, now by default.
    """

    __slots__ = ("_seconds", "_sliding", "expires_at", "replied_at")

    def __init__(self, seconds: float, *, sliding: bool, since: float | None = None) -> None:
        self._seconds = seconds
        self._sliding = sliding
        self.expires_at = (time.monotonic() if since is None else since) + seconds
        self.replied_at = -math.inf
        """When the last reply came."""

    def is_over(self) -> bool:
        """Whether the deadline has passed: nothing more is sent."""
        return time.monotonic() >= self.expires_at

    def note_reply(self, at: float | None = None) -> None:
        """Note a reply that came now, or at that moment; a sliding deadline starts again."""
        self.replied_at = time.monotonic() if at is None else at
        self.extend(self.replied_at)

    def extend(self, at: float) -> None:
        """Let a sliding deadline start again at a moment at which the store answered."""
        if self._sliding:
            self.expires_at = max(self.expires_at, at + self._seconds)
