"""What a server remembers of users, for the features that are to be answered from it while the store is unavailable."""

import threading
import time
from itertools import islice
from typing import Final, NamedTuple

from canuse_server.store.redis.replies import reply_bytes

DEFAULT_MAX_AGE_SECONDS: Final = 300
DEFAULT_ENTRIES: Final = 100_000
ENTRY_BYTES: Final = 512
"""How many bytes an entry may take on average: as many entries as may be take this times as many bytes at most."""
MAX_REPLY_BYTES: Final = 4096
"""The largest reply that is remembered: that about a user with some 125 grants of the feature."""
OBJECT_BYTES: Final = 400
"""What an entry takes besides the bytes in it."""


class Known(NamedTuple):
    """What the store replied to a check, when that was on its own clock, and how long ago it was."""

    reply: object
    now_ms: int
    age_seconds: float


class _Entry(NamedTuple):
    reply: object
    now_ms: int
    noted_at: float
    held_bytes: int


class LastKnown:
    """The last reply to a check by user and feature: not older than `max_age_seconds`, and of so many only.

    `held_bytes` is what they take.
    """

    def __init__(self, max_age_seconds: float = DEFAULT_MAX_AGE_SECONDS, entries: int = DEFAULT_ENTRIES) -> None:
        self._max_age_seconds = max_age_seconds
        self._entries = entries
        self._max_bytes = entries * ENTRY_BYTES
        self.held_bytes = 0
        # From the oldest to the newest. Lanes and the event loop share it.
        self._known: dict[tuple[str, str], _Entry] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many are remembered, those among them that are too old by now."""
        return len(self._known)

    def note(self, user_id: str, feature_id: str, reply: object, now_ms: int) -> None:
        """Remember a reply in place of the one before, unless it is too large; then none is known.

        What is too old goes, and the oldest of too many.
        """
        key, now, size = (user_id, feature_id), time.monotonic(), reply_bytes(reply)
        held_bytes = OBJECT_BYTES + len(user_id) + len(feature_id) + size
        with self._lock:
            if key in self._known:
                self._drop(key)
            if size <= MAX_REPLY_BYTES:
                self._known[key] = _Entry(reply, now_ms, now, held_bytes)
                self.held_bytes += held_bytes
            while len(self._known) > self._entries or self.held_bytes > self._max_bytes:
                self._drop(next(iter(self._known)))
            # Two at a time, so that one call does not pay for all that have grown old since the last one.
            for key in list(islice(self._known, 2)):
                if now - self._known[key].noted_at > self._max_age_seconds:
                    self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        self.held_bytes -= self._known.pop(key).held_bytes

    def recall(self, user_id: str, feature_id: str) -> Known | None:
        """Return what is known of a user and a feature, or None where nothing is or it is too old."""
        found = self._known.get((user_id, feature_id))
        if found is None:
            return None
        age_seconds = time.monotonic() - found.noted_at
        return Known(found.reply, found.now_ms, age_seconds) if age_seconds <= self._max_age_seconds else None

    def forget(self, user_id: str) -> None:
        """Forget all about a user."""
        with self._lock:
            for key in [key for key in self._known if key[0] == user_id]:
                self._drop(key)
