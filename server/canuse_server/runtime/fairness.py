"""Scheduling of long work, such as large pages, so that short calls do not wait for it."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

from canuse_server.runtime.call_state import current_call, note_work

MAX_CONCURRENT: Final = 4
"""Maximum number of pages at a time: while one waits for the store, another can use the CPU."""
WORK_SECONDS: Final = 0.0003
"""Approximate time of work between breaks."""
YIELD_SECONDS: Final = 0.0005
"""Length of a break while more than one call is in progress; the event loop rounds it up to a millisecond. The threads
of the batch lane need it: they get Python's global lock when the event loop is idle, or else after a switch
interval."""
SHARE_SECONDS: Final = 0.00015
"""Time of work after which a call that does not take breaks yields once to others."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class FairSemaphore:
    """A semaphore that calls acquire in the order of their arrival.

    A call waits as long as the store answers the calls before it: they extend its sliding store deadline. If the store
    is silent, all waiting calls fail together.
    """

    def __init__(self, max_concurrent: int = 1) -> None:
        self._semaphore = asyncio.Semaphore(max_concurrent)
        self._replied_at = -math.inf

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        """Hold the semaphore."""
        deadline = current_call().store_deadline
        async with self._semaphore:
            if deadline is None:
                yield
                return
            deadline.extend(self._replied_at)
            try:
                yield
            finally:
                self._replied_at = max(self._replied_at, deadline.replied_at)


class YieldBudget:
    """Lets the work of many long calls take its breaks together."""

    def __init__(self) -> None:
        self._under_way = 0
        self._break_at = 0.0
        self._break_lock = asyncio.Lock()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Count a call in progress."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def yield_if_due(self) -> bool:
        """Take a break if one is due; return whether it was."""
        if time.monotonic() < self._break_at:
            return False
        # After a break the call that has waited longest continues; the others wait for the next break.
        async with self._break_lock:
            break_ends_at = self._break_at + YIELD_SECONDS if self._under_way > 1 else 0
            await asyncio.sleep(break_ends_at - time.monotonic())
            self._break_at = time.monotonic() + WORK_SECONDS
        return True


class WorkShare:
    """Yields to other calls during long work that is not part of a `YieldBudget`."""

    def __init__(self) -> None:
        self._pause_at = time.monotonic() + SHARE_SECONDS

    async def pause_if_due(self) -> None:
        """Yield once to the event loop and other threads if that is due."""
        if time.monotonic() >= self._pause_at:
            await asyncio.sleep(0)
            note_work()
            self._pause_at = time.monotonic() + SHARE_SECONDS


class PageScheduler:
    """Limits the number of pages in progress; calls start in the order of their arrival."""

    def __init__(self) -> None:
        self._semaphore = FairSemaphore(MAX_CONCURRENT)
        self._budget = YieldBudget()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        """Wait for a free place. Work in this context shares its breaks with the other pages."""
        current_call().yield_budget = self._budget
        with self._budget.under_way():
            async with self._semaphore.acquire():
                yield


async def yield_if_due() -> None:
    """Take a break from the page of the current call if one is due."""
    if (budget := current_call().yield_budget) is not None and await budget.yield_if_due():
        note_work()


async def map_yielding(items: Iterable[_Item], convert: Callable[[_Item], _Result]) -> list[_Result]:
    """Convert each item, and take breaks when they are due."""
    results: list[_Result] = []
    for item in items:
        results.append(convert(item))
        await yield_if_due()
    return results
