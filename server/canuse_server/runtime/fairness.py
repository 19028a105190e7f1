"""Work that is not urgent, such as large pages, done a little at a time: what is urgent must not wait for it."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

from canuse_server.runtime.call_state import current_call, note_work

MAX_CONCURRENT: Final = 4
"""How many pages are under way at a time: while one waits for the store another is worked on."""
WORK_SECONDS: Final = 0.0003
"""How long there is work without a break, about."""
YIELD_SECONDS: Final = 0.0005
"""How long the break is where more than one call is to be answered; the event loop makes a millisecond of it. The
threads of the batch lane need it: what they need to go on Python gives them when the event loop has nothing to do, or
else after five milliseconds."""
SHARE_SECONDS: Final = 0.002
"""How long work that is urgent itself goes on before others get a share."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class FairSemaphore:
    """Lets a few calls at a time do something, in the order in which they came.

    A call waits for its turn as long as the store answers those before it: a sliding store deadline starts again then.
    If the store is silent, all that wait fail together.
    """

    def __init__(self, max_concurrent: int = 1) -> None:
        self._semaphore = asyncio.Semaphore(max_concurrent)
        self._replied_at = -math.inf

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        """Wait for a turn, and take it."""
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
    """Lets work of many calls that is not urgent take its breaks together."""

    def __init__(self) -> None:
        self._under_way = 0
        self._break_at = 0.0
        self._in_break = asyncio.Lock()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Count a call that is to be answered."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def yield_if_due(self) -> bool:
        """Take a break if it is time for one; return whether it was."""
        if time.monotonic() < self._break_at:
            return False
        # After a break the one that has waited longest goes on; the others wait for the next one.
        async with self._in_break:
            break_ends_at = self._break_at + YIELD_SECONDS if self._under_way > 1 else 0
            await asyncio.sleep(break_ends_at - time.monotonic())
            self._break_at = time.monotonic() + WORK_SECONDS
        return True


class WorkShare:
    """Lets other calls go on in the middle of much work, which does not wait for any of them."""

    def __init__(self) -> None:
        self._pause_at = time.monotonic() + SHARE_SECONDS

    async def pause_if_due(self) -> None:
        """Let the event loop and other threads do what is due, if this has gone on for long."""
        if time.monotonic() >= self._pause_at:
            await asyncio.sleep(0)
            note_work()
            self._pause_at = time.monotonic() + SHARE_SECONDS


class PageScheduler:
    """Lets calls make pages a few at a time, in the order in which they came."""

    def __init__(self) -> None:
        self._semaphore = FairSemaphore(MAX_CONCURRENT)
        self._budget = YieldBudget()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        """Wait for a turn, and take it; what the call does in here takes its breaks from work with the others."""
        current_call().yield_budget = self._budget
        with self._budget.under_way():
            async with self._semaphore.acquire():
                yield


async def yield_if_due() -> None:
    """Take a break from the page that this task makes, if it is time for one."""
    if (budget := current_call().yield_budget) is not None and await budget.yield_if_due():
        note_work()


async def map_yielding(items: Iterable[_Item], convert: Callable[[_Item], _Result]) -> list[_Result]:
    """Convert each item, and take a break where one is due."""
    results: list[_Result] = []
    for item in items:
        results.append(convert(item))
        await yield_if_due()
    return results
