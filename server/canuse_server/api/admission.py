"""How much a process has taken on. Beyond a bound calls are refused at once, so that the others are answered."""

import threading

from canuse_server.api.errors import overloaded


class AdmissionLimit:
    """Bounds the calls in flight and the bytes of their requests and metadata. Threads share it."""

    def __init__(self, max_calls: int, max_bytes: int) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._calls = self._bytes = 0

    def acquire(self, size: int) -> None:
        """Take on a call of so many bytes; raise OVERLOADED where that is too much. One call alone never is."""
        with self._lock:
            calls, waiting = self._calls + 1, self._bytes + size
            if calls > 1 and (calls > self._max_calls or waiting > self._max_bytes):
                raise overloaded()
            self._calls, self._bytes = calls, waiting

    def release(self, *sizes: int) -> None:
        """Note that calls of such sizes are no longer in flight."""
        with self._lock:
            self._calls -= len(sizes)
            self._bytes -= sum(sizes)
