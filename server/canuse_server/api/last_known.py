"""A cache of the last replies to checks, for features that use it while the store is unavailable."""

import threading
import time
from itertools import islice
from typing import Final, NamedTuple

from canuse_server.store.redis.replies import reply_bytes

DEFAULT_MAX_AGE_SECONDS: Final = 300
DEFAULT_ENTRIES: Final = 100_000
ENTRY_BYTES: Final = 512
"""Maximum average size of an entry; the total size is limited to this times the number of entries."""
MAX_REPLY_BYTES: Final = 4096
"""Maximum size of a cached reply: that for a user with about 125 grants of the feature."""
OBJECT_BYTES: Final = 400
"""Size of the objects of an entry, without the bytes in them."""


class KnownReply(NamedTuple):
    """The store's reply to a check, its time by the store's clock, and its age."""

    reply: object
    now_ms: int
    age_seconds: float


class _Entry(NamedTuple):
    reply: object
    now_ms: int
    noted_at: float
    held_bytes: int


class LastKnown:
    """The last reply to a check, by user and feature, with a maximum age and a maximum number of entries.

    `held_bytes` is their total size.
    """

    def __init__(self, max_age_seconds: float = DEFAULT_MAX_AGE_SECONDS, entries: int = DEFAULT_ENTRIES) -> None:
        self._max_age_seconds = max_age_seconds
        self._max_entries = entries
        self._max_bytes = entries * ENTRY_BYTES
        self.held_bytes = 0
        # Oldest first. The lane and the event loop share it.
        self._entries_by_key: dict[tuple[str, str], _Entry] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of entries, including expired ones."""
        return len(self._entries_by_key)

    def note(self, user_id: str, feature_id: str, reply: object, now_ms: int) -> None:
        """Cache a reply in place of the previous one; one that is too large only removes the previous one.

        Removes expired entries, and the oldest ones beyond the limits.
        """
        key, now, size = (user_id, feature_id), time.monotonic(), reply_bytes(reply)
        held_bytes = OBJECT_BYTES + len(user_id) + len(feature_id) + size
        with self._lock:
            if key in self._entries_by_key:
                self._drop(key)
            if size <= MAX_REPLY_BYTES:
                self._entries_by_key[key] = _Entry(reply, now_ms, now, held_bytes)
                self.held_bytes += held_bytes
            while len(self._entries_by_key) > self._max_entries or self.held_bytes > self._max_bytes:
                self._drop(next(iter(self._entries_by_key)))
            # At most two per call, so that no call has to remove many expired entries.
            for key in list(islice(self._entries_by_key, 2)):
                if now - self._entries_by_key[key].noted_at > self._max_age_seconds:
                    self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        self.held_bytes -= self._entries_by_key.pop(key).held_bytes

    def recall(self, user_id: str, feature_id: str) -> KnownReply | None:
        """Return the last reply for a user and a feature, or None if there is none or it has expired."""
        entry = self._entries_by_key.get((user_id, feature_id))
        if entry is None:
            return None
        age_seconds = time.monotonic() - entry.noted_at
        return KnownReply(entry.reply, entry.now_ms, age_seconds) if age_seconds <= self._max_age_seconds else None

    def clear(self) -> None:
        """Remove all entries."""
        with self._lock:
            self._entries_by_key.clear()
            self.held_bytes = 0

    def forget(self, user_id: str) -> None:
        """Remove all entries of a user."""
        with self._lock:
            for key in [key for key in self._entries_by_key if key[0] == user_id]:
                self._drop(key)
