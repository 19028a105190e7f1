"""Admission control: calls beyond a limit are refused at once, so that the others are answered."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from canuse_server.api.errors import overloaded


class AdmissionLimit:
    """Limits the number of calls in flight and the total size of their requests and metadata. It is thread-safe."""

    def __init__(self, max_calls: int, max_bytes: int) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._calls = self._bytes = 0

    @property
    def calls(self) -> int:
        """Number of calls in flight."""
        return self._calls

    @property
    def size(self) -> int:
        """Total size of their requests and metadata, in bytes."""
        return self._bytes

    def acquire(self, size: int) -> None:
        """Admit a call; raise OVERLOADED if a limit is exceeded. A single call is always admitted."""
        with self._lock:
            calls, total_bytes = self._calls + 1, self._bytes + size
            if calls > 1 and (calls > self._max_calls or total_bytes > self._max_bytes):
                raise overloaded()
            self._calls, self._bytes = calls, total_bytes

    def release(self, *sizes: int) -> None:
        """Release calls of these sizes, which are no longer in flight."""
        with self._lock:
            self._calls -= len(sizes)
            self._bytes -= sum(sizes)

    def grow(self, size: int) -> None:
        """Add to the size of an admitted call; raise OVERLOADED if that exceeds the limit. A single call may grow."""
        with self._lock:
            if self._calls > 1 and self._bytes + size > self._max_bytes:
                raise overloaded()
            self._bytes += size

    @contextmanager
    def growing(self) -> Iterator[Callable[[int], None]]:
        """Admit a call until the block ends, and add its size as it becomes known; raise OVERLOADED as `holding`."""
        held = 0

        def grow(size: int) -> None:
            nonlocal held
            self.grow(size)
            held += size

        self.acquire(0)
        try:
            yield grow
        finally:
            self.release(held)

    def holding(self, size: int) -> "_Held":
        """Admit a call until the block ends; raise OVERLOADED if a limit is exceeded."""
        return _Held(self, size)


class _Held:
    """The context of an admitted call. A generator as the context takes three times as long."""

    __slots__ = ("_limit", "_size")

    def __init__(self, limit: AdmissionLimit, size: int) -> None:
        self._limit = limit
        self._size = size

    def __enter__(self) -> None:
        self._limit.acquire(self._size)

    def __exit__(self, *_: object) -> None:
        self._limit.release(self._size)
