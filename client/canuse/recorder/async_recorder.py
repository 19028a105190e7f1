"""The recorder for asyncio."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from canuse import v1
from canuse.recorder.events import RefusedEvent
from canuse.recorder.recorder import DEFAULT_CLOSE_SECONDS, DEFAULT_MAX_EVENTS, DEFAULT_WAIT_SECONDS, Recorder
from canuse.recorder.sender import Answer

AsyncSend = Callable[[Sequence[v1.CreateUsageEventRequest]], Coroutine[Any, Any, Sequence[Answer]]]


class AsyncRecorder:
    """Takes uses that have happened, keeps them on disk, and sends them in the background, in batches.

        async with client.recorder("/var/lib/shop/usage") as recorder:
            await recorder.record("user-124", "api-calls")

    An event is accepted when `record` returns: from then on it survives `kill -9`, and is counted once, now or by the
    next recorder of the same spool. Tasks may share a recorder; processes may not, nor may a fork use its parent's.
    """

    def __init__(
        self,
        spool: str | os.PathLike[str],
        send: AsyncSend,
        *,
        max_events: int = DEFAULT_MAX_EVENTS,
        wait_seconds: float = DEFAULT_WAIT_SECONDS,
        fsync: bool = False,
        on_refused: Callable[[RefusedEvent], object] | None = None,
    ) -> None:
        """Open a spool in a running event loop, which `send` then uses. See `AsyncClient.recorder`."""
        loop = asyncio.get_running_loop()

        def send_from_thread(requests: Sequence[v1.CreateUsageEventRequest]) -> Sequence[Answer]:
            return asyncio.run_coroutine_threadsafe(send(requests), loop).result()

        self._recorder = Recorder(
            spool,
            send_from_thread,
            max_events=max_events,
            wait_seconds=wait_seconds,
            fsync=fsync,
            on_refused=on_refused,
        )

    async def record(self, user_id: str, feature_id: str, delta: int = 1, event_id: str | None = None) -> str:
        """Accept a use that has happened. See `Recorder.record`."""
        if not self._recorder.is_full:
            return self._recorder.record(user_id, feature_id, delta, event_id)
        return await asyncio.to_thread(self._recorder.record, user_id, feature_id, delta, event_id)

    @property
    def depth(self) -> int:
        """The number of accepted events that the server has not recorded yet."""
        return self._recorder.depth

    @property
    def age(self) -> timedelta:
        """How long the oldest of them has been waiting; zero if there is none."""
        return self._recorder.age

    @property
    def is_full(self) -> bool:
        """Whether the spool has as many events as it may."""
        return self._recorder.is_full

    def refused(self) -> list[RefusedEvent]:
        """Return the events that the server refused for good, oldest first. They stay in the spool."""
        return self._recorder.refused()

    def retry_refused(self) -> int:
        """Send the refused events again, when their cause is mended, and return how many there are."""
        return self._recorder.retry_refused()

    async def flush(self, timeout_seconds: float = DEFAULT_CLOSE_SECONDS) -> bool:
        """Wait until the server has recorded or refused everything; return whether it has, in the given time."""
        return await asyncio.to_thread(self._recorder.flush, timeout_seconds)

    async def close(self, timeout_seconds: float = DEFAULT_CLOSE_SECONDS) -> int:
        """Accept nothing more, send what is left for up to a time, and close the spool. See `Recorder.close`."""
        return await asyncio.to_thread(self._recorder.close, timeout_seconds)

    async def __aenter__(self) -> Self:
        """Return the recorder."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()
