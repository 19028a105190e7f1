"""Suppression of repeated log lines: each subject is logged once."""

import threading
from collections.abc import Hashable

MAX_SUBJECTS = 1000


class Once:
    """The subjects that were logged. A full set is cleared."""

    def __init__(self) -> None:
        self._logged: set[Hashable] = set()
        self._lock = threading.Lock()

    def is_new(self, subject: Hashable) -> bool:
        """Whether a subject was not logged before. Marks it as logged."""
        with self._lock:
            if subject in self._logged:
                return False
            if len(self._logged) >= MAX_SUBJECTS:
                self._logged.clear()
            self._logged.add(subject)
            return True
