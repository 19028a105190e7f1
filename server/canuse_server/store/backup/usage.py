"""Reads the ledger of all users, from where an earlier reader stopped."""

from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple, cast

from google.protobuf.message import DecodeError

from canuse_server.store.backup.patience import patiently
from canuse_server.store.codec.ledger_pb2 import LedgerEntry
from canuse_server.store.keys import BUCKETS, Keys
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.ledger import CHUNK, Place

BUCKETS_AT_ONCE: Final = 128


class Part(NamedTuple):
    """Some events of one bucket, oldest first. The next part of the bucket comes after `last`."""

    bucket: int
    events: list[tuple[Place, LedgerEntry]]
    last: Place
    unreadable: int
    """Number of entries that could not be read."""


class UsageReader:
    """Reads the events of one environment since a time, and of each bucket those after a place."""

    def __init__(self, store: Store, environment: str, since_ms: int, after: Mapping[int, Place]) -> None:
        self._store = store
        self._keys = Keys(environment)
        self._since = Place(since_ms, 0)
        self._after = after
        self.share = 0.0
        """How many of the buckets are read, from 0 to 1."""

    async def parts(self) -> AsyncIterator[Part]:
        """Yield the events that there are now. Raises StoreError."""
        for first in range(0, BUCKETS, BUCKETS_AT_ONCE):
            buckets = range(first, first + BUCKETS_AT_ONCE)
            newest = [("XREVRANGE", self._keys.ledger(bucket), "+", "-", "COUNT", "1") for bucket in buckets]
            replies, _ = await patiently(lambda: self._store.call(*newest))  # noqa: B023 - it is called at once
            for bucket, reply in zip(buckets, cast("list[list[tuple[bytes, list[bytes]]]]", replies), strict=True):
                if reply:
                    async for part in self._bucket(bucket, Place.read(reply[0][0])):
                        yield part
                self.share = (bucket + 1) / BUCKETS

    async def _bucket(self, bucket: int, end: Place) -> AsyncIterator[Part]:
        """Yield the events of a bucket up to a place: in a busy one there is always a next event."""
        after = self._after.get(bucket)
        start = f"({after}" if after is not None and after >= self._since else str(self._since)
        while True:
            command = ("XRANGE", self._keys.ledger(bucket), start, str(end), "COUNT", str(CHUNK))
            (reply,), _ = await patiently(lambda: self._store.call(command))  # noqa: B023 - it is called at once
            entries = cast("list[tuple[bytes, list[bytes]]]", reply)
            if not entries:
                return
            events: list[tuple[Place, LedgerEntry]] = []
            for entry_id, fields in entries:
                try:
                    events.append((Place.read(entry_id), LedgerEntry.FromString(fields[1])))
                except (DecodeError, IndexError):
                    continue
            last = Place.read(entries[-1][0])
            yield Part(bucket, events, last, len(entries) - len(events))
            if len(entries) < CHUNK:
                return
            start = f"({last}"
