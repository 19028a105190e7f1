"""The manual clock: kept in the store, so that a restart goes on from it. It is for one server at a time: another one
on the same store does not hear of it when the clock is moved."""

from typing import Final, cast

from canuse_server.store.keys import CLOCK
from canuse_server.store.redis.client import Store
from canuse_server.store.scripts.loader import ADVANCE_CLOCK

LATEST_MS: Final = 221_845_392_000_000
"""The latest time canuse takes, 9000-01-01: all period ends after it are still within the calendar."""


class ClockRangeError(Exception):
    """The time is before what the clock shows, or later than it can show."""


class ManualClock:
    """A clock that stands still until it is moved, forwards only."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def start(self) -> None:
        """Stop the time: at what the clock showed last, or at the present where that is later or there is none."""
        (shown,), now_ms = await self._store.call(("GET", CLOCK))
        time_ms = max(now_ms, int(cast("bytes", shown))) if shown else now_ms
        await self._store.call(("SET", CLOCK, str(time_ms)))
        self._store.manual_now_ms = time_ms

    def time_ms(self) -> int:
        """Return what the clock shows."""
        assert self._store.manual_now_ms is not None
        return self._store.manual_now_ms

    async def set(self, time_ms: int) -> int:
        """Move the clock to a time and return it; raises ClockRangeError."""
        return await self._move("T", time_ms)

    async def advance(self, duration_ms: int) -> int:
        """Move the clock on by a duration and return what it shows then; raises ClockRangeError."""
        return await self._move("D", duration_ms)

    async def _move(self, how: str, amount_ms: int) -> int:
        reply = cast("bytes", await self._store.run(ADVANCE_CLOCK, [CLOCK], how, str(amount_ms), str(LATEST_MS)))
        if not reply:
            raise ClockRangeError
        self._store.manual_now_ms = int(reply)
        return self._store.manual_now_ms
