"""The deadline of a call for all its waits for the store: for connections, repairs and reloaded scripts."""

import math
import time


class StoreDeadline:
    """The deadline of a call for the store, by `time.monotonic`, which is also the clock of the event loop.

    A `sliding` deadline restarts with each reply: a call with many round trips may continue as long as the store
    answers. `since` is the start of the first period, by default now.
    """

    __slots__ = ("_seconds", "_sliding", "expires_at", "replied_at")

    def __init__(self, seconds: float, *, sliding: bool, since: float | None = None) -> None:
        self._seconds = seconds
        self._sliding = sliding
        self.expires_at = (time.monotonic() if since is None else since) + seconds
        self.replied_at = -math.inf
        """Time of the last reply."""

    def has_passed(self) -> bool:
        """Whether the deadline has passed; then nothing more is sent."""
        return time.monotonic() >= self.expires_at

    def note_reply(self, at: float | None = None) -> None:
        """Note a reply at a time, by default now; a sliding deadline restarts."""
        self.replied_at = time.monotonic() if at is None else at
        self.extend(self.replied_at)

    def note_work(self) -> None:
        """Note that the call is busy and does not wait for the store; a sliding deadline restarts.

        Not before the first reply: a call that was handed over late would otherwise wait for a silent store twice.
        """
        if self.replied_at > -math.inf:
            self.note_reply()

    def extend(self, at: float) -> None:
        """Restart a sliding deadline at a time at which the store answered."""
        if self._sliding:
            self.expires_at = max(self.expires_at, at + self._seconds)
