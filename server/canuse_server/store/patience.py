"""How long one call waits for the store in all, whatever that takes: connections, detours, scripts loaded again."""

import time
from contextvars import ContextVar
from typing import Final

from canuse_server.store.errors import StoreUnavailableError


class Patience:
    """Up to when a call waits, on the clock of `time.monotonic`, which is that of the event loop as well.

    One that is `renewed` starts afresh with each reply: what needs many trips may take as long as the store answers.
    """

    __slots__ = ("_renewed", "_seconds", "ends")

    def __init__(self, seconds: float, *, renewed: bool, began: float | None = None) -> None:
        self._seconds = seconds
        self._renewed = renewed
        self.ends = (time.monotonic() if began is None else began) + seconds

    def check(self) -> None:
        """Raise StoreUnavailableError if it is over: nothing more is to be sent."""
        if time.monotonic() >= self.ends:
            raise StoreUnavailableError("the time for the store ran out before this was sent")

    def note_reply(self, at: float | None = None) -> None:
        """Start afresh, now or at the moment of the reply, where that is what it does."""
        if self._renewed:
            self.ends = max(self.ends, (time.monotonic() if at is None else at) + self._seconds)


BEGAN: Final[ContextVar[float | None]] = ContextVar("began", default=None)
"""When the call that is about to be answered came, where that was a while ago."""
_OF_CALL: Final[ContextVar[Patience | None]] = ContextVar("patience", default=None)


def patience_of_call(seconds: float) -> Patience:
    """Return the patience of the call that is being answered; outside of calls, one for a single trip."""
    return _OF_CALL.get() or Patience(seconds, renewed=True)


def note_turn() -> None:
    """Start the patience of the call that is being answered afresh: it waited for its turn, not for the store."""
    if (patience := _OF_CALL.get()) is not None:
        patience.note_reply()


def begin_call(seconds: float, *, renewed: bool) -> None:
    """Let all that is done for the call that this task answers, in other tasks too, share a patience."""
    _OF_CALL.set(Patience(seconds, renewed=renewed, began=BEGAN.get()))
