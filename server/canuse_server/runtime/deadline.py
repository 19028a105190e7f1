"""How long one call waits for the store in all, whatever that takes: connections, detours, scripts loaded again."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final

from canuse_server.store.errors import StoreUnavailableError


class Patience:
    """Up to when a call waits, on the clock of `time.monotonic`, which is that of the event loop as well.

    One that is `renewed` starts afresh with each reply: what needs many trips may take as long as the store answers.
    """

    __slots__ = ("_renewed", "_seconds", "ends", "heard_at")

    def __init__(self, seconds: float, *, renewed: bool, began: float | None = None) -> None:
        self._seconds = seconds
        self._renewed = renewed
        self.ends = (time.monotonic() if began is None else began) + seconds
        self.heard_at = -math.inf
        """When the last reply came."""

    def check(self) -> None:
        """Raise StoreUnavailableError if it is over: nothing more is to be sent."""
        if time.monotonic() >= self.ends:
            raise StoreUnavailableError("the time for the store ran out before this was sent")

    def note_reply(self, at: float | None = None) -> None:
        """Start afresh, now or at the moment of the reply, where that is what it does."""
        self.heard_at = time.monotonic() if at is None else at
        self.extend(self.heard_at)

    def extend(self, at: float) -> None:
        """Start afresh at a moment at which the store answered, if that is what it does."""
        if self._renewed:
            self.ends = max(self.ends, at + self._seconds)


BEGAN: Final[ContextVar[float | None]] = ContextVar("began", default=None)
"""When the call that is about to be answered came, where that was a while ago."""
_OF_CALL: Final[ContextVar[Patience | None]] = ContextVar("patience", default=None)


def patience_of_call(seconds: float) -> Patience:
    """Return the patience of the call that is being answered; outside of calls, one for a single trip."""
    return _OF_CALL.get() or Patience(seconds, renewed=True)


def begin_call(seconds: float, *, renewed: bool) -> None:
    """Let all that is done for the call that this task answers, in other tasks too, share a patience."""
    _OF_CALL.set(Patience(seconds, renewed=renewed, began=BEGAN.get()))


def note_work() -> None:
    """Take note that the call that this task answers has had its reply and works on: it does not wait for the store."""
    if (patience := _OF_CALL.get()) is not None:
        patience.note_reply()


class Turns:
    """Lets calls do something a few at a time, in the order in which they came.

    Whoever waits for a turn does so as long as the store answers those before: what needs many trips has its time
    afresh then. With a store that is silent all that wait fail together.
    """

    def __init__(self, at_a_time: int = 1) -> None:
        self._free = asyncio.Semaphore(at_a_time)
        self._heard_at = -math.inf

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and take it."""
        patience = _OF_CALL.get()
        async with self._free:
            if patience is None:
                yield
                return
            patience.extend(self._heard_at)
            try:
                yield
            finally:
                self._heard_at = max(self._heard_at, patience.heard_at)
