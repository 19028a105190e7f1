"""Reads the audit logs of an environment as one: entries of some thousand streams, newest first."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, cast

from canuse_server.runtime.fairness import yield_if_due
from canuse_server.store.codec.audit_pb2 import AuditEntry
from canuse_server.store.keys import API_KEYS_AUDIT, BUCKETS, CLOCK_AUDIT, Keys, bucket_of
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.ledger import Place

STREAMS_AT_ONCE: Final = 128
MAX_ENTRIES_READ: Final = 20_000
"""Number of entries after which a page ends."""
FIRST_CHUNK: Final = 4
MAX_CHUNK: Final = 1000
"""Maximum number of entries read of a stream at a time."""


class AuditPlace(NamedTuple):
    """The place of an entry among those of all streams. Later ones are greater; at the same time the stream decides."""

    time_ms: int
    serial: int
    stream: int


class Located(NamedTuple):
    """An entry with its place."""

    place: AuditPlace
    entry: AuditEntry


class AuditPage(NamedTuple):
    """Entries, newest first. The next page starts before `before`; None: this is the last page."""

    entries: list[Located]
    before: AuditPlace | None


class AuditQuery(NamedTuple):
    """Which entries to read: since a time, before a place (None: up to now), of a user (empty: of everything)."""

    since_ms: int
    before: AuditPlace | None
    user_id: str
    matches: Callable[[AuditEntry], bool]


class AuditLog:
    """The audit log of one environment. Entries older than `max_age_ms` are not read, even if they are still there."""

    def __init__(self, store: Store, keys: Keys, max_age_ms: int) -> None:
        self._store = store
        self._keys = keys
        self._max_age_ms = max_age_ms
        # Their numbers are in ids of entries and in page tokens.
        buckets = (keys.audit(bucket) for bucket in range(BUCKETS))
        self._streams = (*buckets, keys.catalog_audit, API_KEYS_AUDIT, CLOCK_AUDIT)

    async def page(self, query: AuditQuery, size: int) -> AuditPage:
        """Return the newest entries of a query. A page can have fewer than `size` although more follow."""
        streams = [bucket_of(query.user_id)] if query.user_id else range(len(self._streams))
        now_ms = await self._store.now_ms(self._streams[streams[0]])
        since_ms = max(query.since_ms, now_ms - self._max_age_ms)
        merge = _Merge(self, since_ms, query, streams)
        return await merge.page(size)

    async def read(
        self, since_ms: int, requests: Sequence[tuple[int, AuditPlace | None]], count: int
    ) -> dict[int, list[Located]]:
        """Return for streams, each with the place before which to start, up to `count` entries, newest first."""
        found: dict[int, list[Located]] = {}
        for at in range(0, len(requests), STREAMS_AT_ONCE):
            part = requests[at : at + STREAMS_AT_ONCE]
            commands = (
                ("XREVRANGE", self._streams[stream], _end(stream, before), str(since_ms), "COUNT", str(count))
                for stream, before in part
            )
            replies, _ = await self._store.call(*commands)
            for (stream, _), reply in zip(part, replies, strict=True):
                found[stream] = [
                    await _located(stream, *entry) for entry in cast("list[tuple[bytes, list[bytes]]]", reply)
                ]
        return found


class _Merge:
    """The merge of some streams for one page."""

    def __init__(self, log: AuditLog, since_ms: int, query: AuditQuery, streams: Sequence[int]) -> None:
        self._log = log
        self._since_ms = since_ms
        self._query = query
        self._streams = streams
        self._unread: dict[int, AuditPlace] = {}
        """The streams of which there is more to read, and the place up to which each was read."""
        self._waiting: list[Located] = []
        """Entries that were read and not examined, the oldest first."""
        self._entries_read = 0

    async def page(self, size: int) -> AuditPage:
        """Return the page."""
        # At first one entry of each stream: of most streams, no more is needed.
        await self._read([(stream, self._query.before) for stream in self._streams], 1)
        found, examined, count = list[Located](), self._query.before, FIRST_CHUNK
        while True:
            latest_unread = max(self._unread.values(), default=None)
            while self._waiting and (latest_unread is None or self._waiting[-1].place >= latest_unread):
                if len(found) == size:
                    return AuditPage(found, examined)
                item = self._waiting.pop()
                examined = item.place
                if self._query.matches(item.entry):
                    found.append(item)
            if not self._unread:
                return AuditPage(found, None)
            if self._entries_read >= MAX_ENTRIES_READ:
                return AuditPage(found, examined)
            # Entries before the last one that the page may need come from none but these streams.
            last = self._waiting[-min(size - len(found) + 1, len(self._waiting))].place if self._waiting else None
            wanted = [item for item in self._unread.items() if last is None or item[1] >= last]
            await self._read(wanted, max(1, min(count, (MAX_ENTRIES_READ - self._entries_read) // len(wanted))))
            count = min(2 * count, MAX_CHUNK)

    async def _read(self, requests: Sequence[tuple[int, AuditPlace | None]], count: int) -> None:
        """Read up to `count` more entries of some streams, each from a place on."""
        for stream, items in (await self._log.read(self._since_ms, requests, count)).items():
            self._entries_read += len(items)
            self._waiting += items
            if len(items) < count:
                self._unread.pop(stream, None)
            else:
                self._unread[stream] = items[-1].place
        self._waiting.sort(key=lambda item: item.place)


async def _located(stream: int, entry_id: bytes, fields: list[bytes]) -> Located:
    await yield_if_due()
    place = Place.parse(entry_id.decode())
    return Located(AuditPlace(place.time_ms, place.serial, stream), AuditEntry.FromString(fields[1]))


def _end(stream: int, before: AuditPlace | None) -> str:
    """Return the end of a range of a stream, for entries before a place."""
    if before is None:
        return "+"
    end = f"{before.time_ms}-{before.serial}"
    return end if stream < before.stream else f"({end}"
