"""Work of the GraphQL library that cannot take breaks: one piece at a time, in a thread, with a rest after each.

While a thread computes, other threads get Python's global lock every few milliseconds only. Without the rests, callers
who send queries that take long to read would slow every other call down.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

REST: Final = 2.0
"""How long a rest is, in proportion to the work before it."""
_Result = TypeVar("_Result")


class Lane:
    """Does one piece of work after the other, in the order in which they come."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._lock = asyncio.Lock()
        self._rests_until = 0.0

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Do a piece of work when its turn comes."""
        async with self._lock:
            await asyncio.sleep(self._rests_until - time.monotonic())
            started_at = time.monotonic()
            try:
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
            finally:
                ended_at = time.monotonic()
                self._rests_until = ended_at + REST * (ended_at - started_at)
