"""Work of the GraphQL library that cannot yield: one piece at a time, in a thread, with a pause after each.

While a thread computes, other threads get Python's global lock every few milliseconds only. Without the pauses, callers
who send queries that take long to read would slow every other call down.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

PAUSE_RATIO: Final = 2.0
"""How long a pause is, in proportion to the work before it."""
_Result = TypeVar("_Result")


class PacedExecutor:
    """Does one piece of work after the other, in the order in which they come."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._lock = asyncio.Lock()
        self._paused_until = 0.0

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Do a piece of work when its turn comes."""
        async with self._lock:
            await asyncio.sleep(self._paused_until - time.monotonic())
            started_at = time.monotonic()
            try:
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
            finally:
                ended_at = time.monotonic()
                self._paused_until = ended_at + PAUSE_RATIO * (ended_at - started_at)
