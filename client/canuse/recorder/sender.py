"""The thread of a recorder: it moves events from the journal into the database, and from there to the server."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from threading import Event as Signal
from typing import TYPE_CHECKING, Final, TypeAlias

from canuse import v1
from canuse.answers import CreateUsageEventAnswer
from canuse.errors import (
    AlreadyExists,
    CanuseError,
    ClientClosed,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from canuse.recorder.events import Event, RefusedEvent
from canuse.recorder.spool import Spool, refused_event

if TYPE_CHECKING:
    from canuse.recorder.recorder import Recorder

Answer: TypeAlias = CreateUsageEventAnswer | CanuseError
Send: TypeAlias = Callable[[Sequence[v1.CreateUsageEventRequest]], Sequence[Answer]]

MAX_BATCH: Final = 1000
GATHER_SECONDS: Final = 0.02
"""How long events gather before they are sent together."""
FIRST_DELAY_SECONDS: Final = 0.1
MAX_DELAY_SECONDS: Final = 5.0
_FOR_GOOD: Final = (InvalidArgument, NotFound, AlreadyExists, FailedPrecondition)
"""Errors of one event that no retry mends."""

log = logging.getLogger("canuse.recorder")


class Sender:
    """Sends what is in a spool. `run` is the work of a thread."""

    def __init__(
        self, recorder: "Recorder", spool: Spool, send: Send, on_refused: Callable[[RefusedEvent], object] | None
    ) -> None:
        """Send with a function that records a batch; it may raise a CanuseError."""
        self._recorder = recorder
        self._spool = spool
        self._send = send
        self._on_refused = on_refused
        self.wake = Signal()
        """Set when there is something to do."""
        self._ending = Signal()
        self._end_by = 0.0
        """When to end although something is left, by `time.monotonic`."""

    def end(self, timeout_seconds: float) -> None:
        """End when nothing is left, or after a time; the call in flight then still ends."""
        self._end_by = time.monotonic() + timeout_seconds
        self._ending.set()
        self.wake.set()

    def run(self) -> None:
        """Move and send events until told to end."""
        delay = 0.0
        while True:
            self._pause(delay)
            # Once it is set, nothing more is accepted.
            is_ending = self._ending.is_set()
            try:
                while self._recorder.take_in() + self._send_batch():
                    pass
            except Exception as error:  # noqa: BLE001 - whatever fails, the events must not stay for ever
                delay = self._delay_after(error, delay)
            else:
                if is_ending:
                    return
                delay = 0.0
            if delay and self._ending.is_set():
                delay = min(delay, self._end_by - time.monotonic())
                if delay <= 0:
                    return

    def _pause(self, delay: float) -> None:
        """Wait until there is something to do, or after a failure for some time."""
        if self._ending.is_set():
            time.sleep(delay)
        elif delay:
            self._ending.wait(delay)
        else:
            self.wake.wait()
            self._ending.wait(GATHER_SECONDS)
        self.wake.clear()

    def _delay_after(self, error: Exception, before: float) -> float:
        """Return the time to wait after a failure."""
        if not before:
            log.warning("events wait in the spool: %s: %s", type(error).__name__, error)
        if isinstance(error, ClientClosed):
            self._end_by = time.monotonic()
        asked = getattr(error, "retry_after_seconds", None) or 0.0
        delay = min(before * 2 or FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS)
        return max(asked, delay * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    def _send_batch(self) -> int:
        """Send the oldest events; return how many were recorded or refused. Raises what stands in the way."""
        batch = self._spool.first(MAX_BATCH)
        if not batch:
            return 0
        answers = self._send([event.request() for _, event in batch])
        sent: list[int] = []
        refused: list[tuple[int, Event, str, str]] = []
        failure: CanuseError | None = None
        for (number, event), answer in zip(batch, answers, strict=True):
            if isinstance(answer, _FOR_GOOD):
                refused.append((number, event, answer.reason, answer.message))
            elif isinstance(answer, CanuseError):
                failure = answer
            elif answer.recorded:
                sent.append(number)
            else:
                refused.append((number, event, answer.reason.name, "the user has no entitlement to the feature"))
        self._spool.finish(sent, refused)
        self._tell([refused_event(event, reason, message) for _, event, reason, message in refused])
        self._recorder.let_go(len(sent) + len(refused))
        if failure is not None:
            raise failure
        return len(batch)

    def _tell(self, refused: Sequence[RefusedEvent]) -> None:
        for event in refused:
            log.warning("an event was refused for good: %s", event)
            try:
                if self._on_refused is not None:
                    self._on_refused(event)
            except Exception:
                log.exception("on_refused failed")
