"""The ledger: one stream for each bucket, to which the scripts append usage events."""

from collections.abc import Callable
from typing import Final, NamedTuple, cast

from canuse_server.runtime.fairness import yield_if_due
from canuse_server.store.codec.ledger_pb2 import LedgerEntry
from canuse_server.store.keys import Keys, bucket_of
from canuse_server.store.redis.client import Store

CHUNK: Final = 1000
"""Number of entries read at a time."""
MAX_CHUNKS: Final = 5
"""Maximum number of reads for one page: the stream also contains the events of other users."""
MAX_NUMBER: Final = 2**64 - 1


class Place(NamedTuple):
    """The id of an event: its time and a serial number among the events of that time. Ids only increase."""

    time_ms: int
    serial: int

    def __str__(self) -> str:
        """Return the id as Redis writes it."""
        return f"{self.time_ms}-{self.serial}"

    @classmethod
    def read(cls, entry_id: bytes) -> "Place":
        """Read the id of an entry as the store returns it."""
        time_ms, _, serial = entry_id.partition(b"-")
        return cls(int(time_ms), int(serial))

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read an id; raise ValueError if it is invalid or no event can precede it."""
        time_ms, serial = map(int, text.split("-"))
        place = cls(time_ms, serial)
        if str(place) != text or place <= (0, 0) or max(place) > MAX_NUMBER:
            raise ValueError(text)
        return place


class Page(NamedTuple):
    """Events, newest first. The next page starts before `before`; None: this is the last page."""

    events: list[tuple[Place, LedgerEntry]]
    before: Place | None


class Ledger:
    """The ledger of one environment."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def page(
        self, user_id: str, since_ms: int, before: Place | None, size: int, matches: Callable[[LedgerEntry], bool]
    ) -> Page:
        """Return the newest matching events of a user since a time and before a place.

        A page reads a bounded part of the ledger, so it can have fewer events than `size` although more follow.
        """
        key, found = self._keys.ledger(bucket_of(user_id)), list[tuple[Place, LedgerEntry]]()
        for _ in range(MAX_CHUNKS):
            end = "+" if before is None else f"({before}"
            (reply,), _ = await self._store.call(("XREVRANGE", key, end, str(since_ms), "COUNT", str(CHUNK)))
            entries = cast("list[tuple[bytes, list[bytes]]]", reply)
            for entry_id, fields in entries:
                await yield_if_due()
                before = Place.parse(entry_id.decode())
                entry = LedgerEntry.FromString(fields[1])
                if entry.user_id == user_id and matches(entry):
                    if len(found) == size:
                        return Page(found, found[-1][0])
                    found.append((before, entry))
            if len(entries) < CHUNK:
                return Page(found, None)
        return Page(found, before)

    async def erase(self, user_id: str, last: Place | None = None) -> int:
        """Delete a user's events up to and including `last` (None: all) and return their number. It can be repeated."""
        key, start, erased = self._keys.ledger(bucket_of(user_id)), "-", 0
        end = "+" if last is None else str(last)
        while True:
            (reply,), _ = await self._store.call(("XRANGE", key, start, end, "COUNT", str(CHUNK)))
            entries = cast("list[tuple[bytes, list[bytes]]]", reply)
            ids = [entry_id for entry_id, fields in entries if LedgerEntry.FromString(fields[1]).user_id == user_id]
            if ids:
                await self._store.change(("XDEL", key, *ids))
                erased += len(ids)
            if len(entries) < CHUNK:
                return erased
            start = "(" + entries[-1][0].decode()
