"""How long one call waits for the store in all, whatever that takes: connections, repairs, scripts loaded again."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final


class StoreDeadline:
    """Up to when a call waits, on the clock of `time.monotonic`, which is that of the event loop as well.

    One that is `sliding` starts afresh with each reply: what needs many round trips may take as long as the store
    answers.
    """

    __slots__ = ("_seconds", "_sliding", "ends", "heard_at")

    def __init__(self, seconds: float, *, sliding: bool, began: float | None = None) -> None:
        self._seconds = seconds
        self._sliding = sliding
        self.ends = (time.monotonic() if began is None else began) + seconds
        self.heard_at = -math.inf
        """When the last reply came."""

    def is_over(self) -> bool:
        """Whether it is over: nothing more is to be sent."""
        return time.monotonic() >= self.ends

    def note_reply(self, at: float | None = None) -> None:
        """Start afresh, now or at the moment of the reply, where that is what it does."""
        self.heard_at = time.monotonic() if at is None else at
        self.extend(self.heard_at)

    def extend(self, at: float) -> None:
        """Start afresh at a moment at which the store answered, if that is what it does."""
        if self._sliding:
            self.ends = max(self.ends, at + self._seconds)


ARRIVED_AT: Final[ContextVar[float | None]] = ContextVar("began", default=None)
"""When the call that is about to be answered came, where that was a while ago."""
_OF_CALL: Final[ContextVar[StoreDeadline | None]] = ContextVar("store_deadline", default=None)


def store_deadline(seconds: float) -> StoreDeadline:
    """Return the store deadline of the call that is being answered; outside of calls, one for a single round trip."""
    return _OF_CALL.get() or StoreDeadline(seconds, sliding=True)


def begin_call(seconds: float, *, sliding: bool) -> None:
    """Let all that is done for the call that this task answers, in other tasks too, share a deadline."""
    _OF_CALL.set(StoreDeadline(seconds, sliding=sliding, began=ARRIVED_AT.get()))


def note_work() -> None:
    """Take note that the call that this task answers has had its reply and works on: it does not wait for the store."""
    if (deadline := _OF_CALL.get()) is not None:
        deadline.note_reply()


class FairSemaphore:
    """Lets calls do something a few at a time, in the order in which they came.

    Whoever waits for a turn does so as long as the store answers those before: what needs many round trips has its time
    afresh then. With a store that is silent all that wait fail together.
    """

    def __init__(self, at_a_time: int = 1) -> None:
        self._free = asyncio.Semaphore(at_a_time)
        self._heard_at = -math.inf

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        """Wait for a turn, and take it."""
        deadline = _OF_CALL.get()
        async with self._free:
            if deadline is None:
                yield
                return
            deadline.extend(self._heard_at)
            try:
                yield
            finally:
                self._heard_at = max(self._heard_at, deadline.heard_at)
