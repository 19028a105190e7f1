"""The recorder for code with threads."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Any, Final, Self, cast
from uuid import uuid4

from canuse._arguments import bad_argument, positive
from canuse.errors import ClientClosed
from canuse.recorder.events import Event, RecorderFull, RefusedEvent, check_event
from canuse.recorder.journal import Journal, events_in
from canuse.recorder.sender import Send, Sender
from canuse.recorder.spool import Spool

DEFAULT_MAX_EVENTS: Final = 1_000_000
DEFAULT_WAIT_SECONDS: Final = 5.0
DEFAULT_CLOSE_SECONDS: Final = 5.0


class Recorder:
    """Takes uses that have happened, keeps them on disk, and sends them in the background, in batches.

        with client.recorder("/var/lib/shop/usage") as recorder:
            recorder.record("user-124", "api-calls")

    An event is accepted when `record` returns: from then on it survives `kill -9`, and is counted once, now or by the
    next recorder of the same spool. Threads may share a recorder; processes may not, nor may a fork use its parent's.
    """

    def __init__(
        self,
        spool: str | os.PathLike[str],
        send: Send,
        *,
        max_events: int = DEFAULT_MAX_EVENTS,
        wait_seconds: float = DEFAULT_WAIT_SECONDS,
        fsync: bool = False,
        on_refused: Callable[[RefusedEvent], object] | None = None,
    ) -> None:
        """Open a spool, and start to send what is in it. `Client.recorder` describes the arguments."""
        if not (spool and isinstance(cast("Any", spool), str | os.PathLike)):
            raise bad_argument("spool", spool, "the path of a folder")
        if type(max_events) is not int or max_events < 1:
            raise bad_argument("max_events", max_events, "an int from 1 on")
        self._max_events = max_events
        self._wait_seconds = positive("wait_seconds", wait_seconds) if wait_seconds else 0.0
        self._changed = Condition()
        """Held for changes of the journal and of what follows."""
        self._waits_to_be_woken = True
        self._closed = False
        self._prefix, self._numbers = uuid4().hex, count(1)
        self._pid = os.getpid()
        folder = Path(spool)
        self._spool = Spool(folder, fsync=fsync)
        self._journal = Journal(folder, fsync=fsync)
        self._journal_since: int | None = None
        """When the first event in the journal was accepted."""
        self._depth = 0
        self.take_in()
        self._depth = self._spool.depth()
        self._sender = Sender(self, self._spool, send, on_refused)
        self._sender.wake.set()
        self._thread = Thread(target=self._sender.run, name="canuse-recorder", daemon=True)
        self._thread.start()

    def record(self, user_id: str, feature_id: str, delta: int = 1, event_id: str | None = None) -> str:
        """Accept a use that has happened: it is counted once, in the period in which it arrives at the server.

        It takes microseconds and does not wait for the server. Only if the spool is full it waits for room.

        Args:
            user_id: The user.
            feature_id: The feature, a consumable one.
            delta: The amount in the feature's units; a negative one reduces the total, down to zero.
            event_id: Idempotency key, at most 128 bytes. Default: one is generated.

        Returns:
            The idempotency key.

        Raises:
            RecorderFull: The spool is full, and nothing could be sent for `wait_seconds`.
            ClientClosed: The recorder is closed.
            BadArgument: An argument is invalid; the error names it.
            OSError: The disk is full, or cannot be written.
        """
        if event_id is None:
            event_id = f"{self._prefix}-{next(self._numbers):x}"
        check_event(user_id, feature_id, delta, event_id)
        now_ms = time.time_ns() // 1_000_000
        line = Event(user_id, feature_id, delta, event_id, now_ms).line()
        with self._changed:
            self._wait_for_room()
            self._journal.append(line)
            self._depth += 1
            self._journal_since = self._journal_since or now_ms
            if self._waits_to_be_woken:
                self._waits_to_be_woken = False
                self._sender.wake.set()
        return event_id

    def _wait_for_room(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError(
                "this recorder belongs to the parent process: open one after the fork, with its own spool"
            )
        if self._depth >= self._max_events and not self._closed:
            self._changed.wait_for(lambda: self._depth < self._max_events or self._closed, self._wait_seconds)
        if self._closed:
            raise ClientClosed("the recorder is closed; nothing was recorded")
        if self._depth >= self._max_events:
            raise RecorderFull(f"the spool has {self._depth} events, as many as it may; the event was not accepted")

    @property
    def depth(self) -> int:
        """The number of accepted events that the server has not recorded yet."""
        return self._depth

    @property
    def age(self) -> timedelta:
        """How long the oldest of them has been waiting; zero if there is none."""
        found = self._spool.oldest_ms()
        since = self._journal_since if found is None else found
        return (
            timedelta()
            if since is None
            else max(timedelta(), timedelta(milliseconds=time.time_ns() // 1_000_000 - since))
        )

    @property
    def is_full(self) -> bool:
        """Whether the spool has as many events as it may."""
        return self._depth >= self._max_events

    def refused(self) -> list[RefusedEvent]:
        """Return the events that the server refused for good, oldest first. They stay in the spool."""
        return self._spool.refused()

    def retry_refused(self) -> int:
        """Send the refused events again, when their cause is mended, and return how many there are."""
        with self._changed:
            found = self._spool.take_back()
            self._depth += found
        self._sender.wake.set()
        return found

    def flush(self, timeout_seconds: float = DEFAULT_CLOSE_SECONDS) -> bool:
        """Wait until the server has recorded or refused everything; return whether it has, in the given time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._depth, positive("timeout_seconds", timeout_seconds))

    def close(self, timeout_seconds: float = DEFAULT_CLOSE_SECONDS) -> int:
        """Accept nothing more, send what is left for up to a time, and close the spool.

        Returns:
            The number of events that stay in the spool for the next recorder.
        """
        with self._changed:
            if self._closed or os.getpid() != self._pid:
                return self._depth
            self._closed = True
            self._changed.notify_all()
        self._sender.end(timeout_seconds)
        self._thread.join()
        self._journal.close()
        self._spool.close()
        return self._depth

    def __enter__(self) -> Self:
        """Return the recorder."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # What the sender's thread calls.

    def take_in(self) -> int:
        """Move the journal into the database; return how many events were moved."""
        with self._changed:
            self._journal.rotate()
            self._journal_since = None
            self._waits_to_be_woken = True
        moved = 0
        for path in self._journal.finished():
            events = list(events_in(path))
            moved += (added := self._spool.add(events))
            # What was accepted twice with the same content is one event.
            self.let_go(len(events) - added)
            # If the process ends before this, its events are added and sent again, with the same ids.
            path.unlink()
        return moved

    def let_go(self, number: int) -> None:
        """Make room for as many events."""
        with self._changed:
            self._depth -= number
            self._changed.notify_all()
