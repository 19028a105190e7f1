"""What a server remembers of users, for the features that are to be answered from it while the store is away."""

import threading
import time
from typing import Final, NamedTuple

DEFAULT_MAX_AGE_SECONDS: Final = 300
DEFAULT_ENTRIES: Final = 100_000


class Known(NamedTuple):
    """What the store replied to a check, when that was on its own clock, and how long ago it was."""

    reply: object
    now_ms: int
    age_seconds: float


class LastKnown:
    """The last reply to a check by user and feature: not older than `max_age_seconds`, and of so many only."""

    def __init__(self, max_age_seconds: float = DEFAULT_MAX_AGE_SECONDS, entries: int = DEFAULT_ENTRIES) -> None:
        self._max_age_seconds = max_age_seconds
        self._entries = entries
        # From the oldest to the newest. Lanes and the event loop share it.
        self._known: dict[tuple[str, str], tuple[object, int, float]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many are remembered, those among them that are too old by now."""
        return len(self._known)

    def note(self, user_id: str, feature_id: str, reply: object, now_ms: int) -> None:
        """Remember a reply in place of the one before; what is too old goes, and the oldest of too many."""
        key, now = (user_id, feature_id), time.monotonic()
        with self._lock:
            self._known.pop(key, None)
            self._known[key] = reply, now_ms, now
            # Two at a time, so that one call does not pay for all that have grown old since the last one.
            for _ in range(2):
                oldest = next(iter(self._known))
                if len(self._known) > self._entries or now - self._known[oldest][2] > self._max_age_seconds:
                    del self._known[oldest]

    def recall(self, user_id: str, feature_id: str) -> Known | None:
        """Return what is known of a user and a feature, or None where nothing is or it is too old."""
        found = self._known.get((user_id, feature_id))
        if found is None:
            return None
        reply, now_ms, since = found
        age_seconds = time.monotonic() - since
        return Known(reply, now_ms, age_seconds) if age_seconds <= self._max_age_seconds else None

    def forget(self, user_id: str) -> None:
        """Forget all about a user."""
        with self._lock:
            for key in [key for key in self._known if key[0] == user_id]:
                del self._known[key]
