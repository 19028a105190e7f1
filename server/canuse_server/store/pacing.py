"""Pages of many items, made a little at a time: they are not urgent, and what is must not wait for them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

from canuse_server.store.patience import Turns

AT_A_TIME: Final = 4
"""How many pages are under way at a time: while one waits for the store another is worked on."""
WORK_SECONDS: Final = 0.0003
"""How long pages are worked on without a break, about."""
BREAK_SECONDS: Final = 0.0005
"""How long the break is at least where more than one page is wanted. The threads of the batch lane need it: what they
need to go on Python gives them when the event loop has nothing to do, or else after five milliseconds."""

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class Pages:
    """Lets calls make pages a few at a time, in the order in which they came."""

    def __init__(self) -> None:
        self._turns = Turns(AT_A_TIME)
        self._wanted = 0
        self._break_at = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and take it; what the call does in here takes its breaks from work with the others."""
        _OF_CALL.set(self)
        self._wanted += 1
        try:
            async with self._turns.turn():
                yield
        finally:
            self._wanted -= 1

    async def take_break(self) -> None:
        """Take a break if it is time for one."""
        if time.monotonic() < self._break_at:
            return
        await asyncio.sleep(0)
        # Of those who wait here the first one goes on; the others find that it has worked, and wait once more.
        while self._wanted > 1 and (left := self._break_at + BREAK_SECONDS - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        self._break_at = time.monotonic() + WORK_SECONDS


_OF_CALL: Final[ContextVar[Pages]] = ContextVar("pages")


async def take_break() -> None:
    """Take a break from the page that this task makes, if it is time for one."""
    if (pages := _OF_CALL.get(None)) is not None:
        await pages.take_break()


async def each(items: Iterable[_Item], make: Callable[[_Item], _Made]) -> list[_Made]:
    """Return what is made of each item, with the breaks that it takes."""
    made: list[_Made] = []
    for item in items:
        made.append(make(item))
        await take_break()
    return made
