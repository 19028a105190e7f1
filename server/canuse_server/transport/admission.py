"""How much a process has taken on. Beyond a bound calls are refused at once, so that the others are answered."""

import threading

from canuse_server.api.errors import overloaded


class AdmissionLimit:
    """The calls that are in flight, and the bytes of their requests and metadata. Threads share it.

    Whoever keeps a call, or lets something wait for it, enters it and notes once that it has left.
    """

    def __init__(self, calls_at_most: int, bytes_at_most: int) -> None:
        self._calls_at_most = calls_at_most
        self._bytes_at_most = bytes_at_most
        self._lock = threading.Lock()
        self._calls = self._bytes = 0

    def acquire(self, size: int) -> None:
        """Take a call on; raise OVERLOADED where that would be too much. One alone is never too much."""
        with self._lock:
            calls, waiting = self._calls + 1, self._bytes + size
            if calls > 1 and (calls > self._calls_at_most or waiting > self._bytes_at_most):
                raise overloaded()
            self._calls, self._bytes = calls, waiting

    def release(self, *sizes: int) -> None:
        """Note that calls of such sizes are not in flight any more."""
        with self._lock:
            self._calls -= len(sizes)
            self._bytes -= sum(sizes)
