"""The manual clock. It is stored, so that a restart continues from it. It supports one server at a time: another
server on the same store does not notice that the clock was moved."""

from typing import Final, cast

from canuse_server.runtime.call_state import current_call
from canuse_server.store.codec.audit_pb2 import AuditEntry
from canuse_server.store.keys import CLOCK, CLOCK_AUDIT
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.audit.writing import AuditWriter
from canuse_server.store.scripts.loader import ADVANCE_CLOCK

LATEST_MS: Final = 221_845_392_000_000
"""The latest accepted time, 9000-01-01: the ends of periods after it are still dates that Python supports."""


class ClockRangeError(Exception):
    """The new time is before the current one, or after the latest accepted time."""


class ManualClock:
    """A clock that stands still until it is moved forward."""

    def __init__(self, store: Store, audit: AuditWriter) -> None:
        self._store = store
        self._audit = audit

    async def start(self) -> None:
        """Stop the time at the last time of the clock, or at the present if that is later or none is stored."""
        (shown,), now_ms = await self._store.call(("GET", CLOCK))
        time_ms = max(now_ms, int(cast("bytes", shown))) if shown else now_ms
        await self._store.call(("SET", CLOCK, str(time_ms)))
        self._store.manual_now_ms = time_ms

    def time_ms(self) -> int:
        """Return the time of the clock."""
        assert self._store.manual_now_ms is not None
        return self._store.manual_now_ms

    async def set(self, time_ms: int) -> int:
        """Move the clock to a time and return it; raise ClockRangeError."""
        return await self._move("T", time_ms)

    async def advance(self, duration_ms: int) -> int:
        """Move the clock forward by a duration and return its new time; raise ClockRangeError."""
        return await self._move("D", duration_ms)

    async def _move(self, mode: str, amount_ms: int) -> int:
        author, before_ms = current_call().author, self._store.manual_now_ms
        audit = AuditEntry(environment=author.environment if author else "")
        entry, max_age, _ = self._audit.arguments(audit)
        change = (mode, str(amount_ms), str(LATEST_MS), entry, max_age)
        reply = cast("bytes", await self._store.run(ADVANCE_CLOCK, [CLOCK, CLOCK_AUDIT], *change))
        if not reply:
            raise ClockRangeError
        self._store.manual_now_ms = int(reply)
        if self._store.manual_now_ms != before_ms:
            self._audit.note(audit)
        return self._store.manual_now_ms
