"""The background task that trims the store: one pass after another, at a bounded cost."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import structlog

from canuse_server.runtime.throttle import Throttle
from canuse_server.store.errors import StoreError
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.usage_commands import Retention
from canuse_server.store.trimming.progress import Look, Place, Progress, Turn
from canuse_server.store.trimming.slices import Data, Slices

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 30.0
"""Maximum time between two looks at whether a pass is due."""
SAVE_SECONDS: Final = 5.0
"""How often the progress of a pass is stored, and the turn kept."""
MAX_PAUSE_SECONDS: Final = 10.0
"""Maximum pause between two slices: shorter than a turn lasts."""
FIRST_RETRY_SECONDS: Final = 1.0
MAX_RETRY_SECONDS: Final = 300.0
WARNING_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class Pace:
    """How often and how fast to trim."""

    interval_seconds: float
    """Time from the end of a pass to the start of the next one; 0: no passes."""
    share: float
    """Maximum share of the time in which the store works on it, more than 0 and at most 1."""

    def pause_after(self, seconds: float) -> float:
        """Return how long to pause after a slice that took so long."""
        return min(MAX_PAUSE_SECONDS, seconds * (1 - self.share) / self.share)


class Trimmer:
    """Trims a store when it is this server's turn, and knows when any server did so last."""

    def __init__(self, store: Store, retention: Retention, pace: Pace) -> None:
        self.store = store
        self.slices = Slices(store, retention)
        self.last_pass_seconds: float | None = None
        """How long the last pass took; None: none has ended."""
        self._pace = pace
        self._turn = Turn(store)
        self._ended_at = time.monotonic()
        self._warnings = Throttle(WARNING_SECONDS)

    @property
    def is_on(self) -> bool:
        """Whether there are passes at all."""
        return self._pace.interval_seconds > 0

    def age_seconds(self) -> float:
        """Return the time since the last pass ended, or since this server started if none has."""
        return time.monotonic() - self._ended_at

    async def run(self) -> None:
        """Trim until cancelled. An unavailable store delays it."""
        if not self.is_on:
            return
        retry_seconds = FIRST_RETRY_SECONDS
        await asyncio.sleep(self._look_seconds())
        while True:
            try:
                await self.trim_if_due()
                delay_seconds, retry_seconds = self._look_seconds(), FIRST_RETRY_SECONDS
            except StoreError as error:
                delay_seconds, retry_seconds = retry_seconds, min(MAX_RETRY_SECONDS, 2 * retry_seconds)
                if self._warnings.try_acquire() is not None:
                    log.warning("trimming has broken off and will be continued", cause=str(error))
            await asyncio.sleep(delay_seconds)

    async def trim_if_due(self) -> None:
        """Start a pass, or continue that of a server that has ended, if it is due and no other server does.

        Raises:
            StoreError: the pass has broken off.
        """
        look = self._seen(await self._turn.look())
        if look.progress.started_ms or self._is_due(look):
            look = self._seen(await self._turn.take())
            if look.has_turn and (look.progress.started_ms or self._is_due(look)):
                await self._trim(look)

    async def _trim(self, look: Look) -> None:
        progress = look.progress
        if not progress.started_ms:
            progress = progress._replace(started_ms=look.now_ms, place=Place())
        before = self.slices.trimmed.copy()
        self.slices.failures.clear()
        saved_at = started_at = time.monotonic()
        async with aclosing(self.slices.from_place(progress.place)) as places:
            async for place in places:
                ended_at = time.monotonic()
                progress = progress._replace(place=place)
                if ended_at - saved_at > SAVE_SECONDS:
                    saved_at = ended_at
                    if not (await self._turn.take(progress)).has_turn:
                        return
                await asyncio.sleep(self._pace.pause_after(ended_at - started_at))
                started_at = time.monotonic()
        look = await self._turn.take()
        lasted_ms = look.now_ms - progress.started_ms
        self._seen(await self._turn.take(Progress(ended_ms=look.now_ms, lasted_ms=lasted_ms)))
        self._log_end(lasted_ms / 1000, {data: count - before[data] for data, count in self.slices.trimmed.items()})

    def _log_end(self, seconds: float, trimmed: Mapping[Data, int]) -> None:
        write = log.info if any(trimmed.values()) else log.debug
        write("a trimming pass has ended", seconds=round(seconds, 1), **dict(trimmed))
        if failures := self.slices.failures:
            log.warning("some keys can't be trimmed", keys=failures.total(), cause=failures.most_common(1)[0][0])

    def _is_due(self, look: Look) -> bool:
        # A clock that steps back does not keep it from being due.
        return abs(look.now_ms - look.progress.ended_ms) >= self._pace.interval_seconds * 1000

    def _seen(self, look: Look) -> Look:
        if look.progress.ended_ms:
            self._ended_at = time.monotonic() - max(0, look.now_ms - look.progress.ended_ms) / 1000
            self.last_pass_seconds = look.progress.lasted_ms / 1000
        return look

    def _look_seconds(self) -> float:
        return min(LOOK_SECONDS, self._pace.interval_seconds)
