"""The ledger: a stream a bucket, to which the recording script appends each event."""

from typing import Final, cast

from canuse.v1.ledger_pb2 import LedgerEntry
from canuse_server.store.client import Store
from canuse_server.store.keys import Keys, bucket_of

CHUNK: Final = 1000
"""How many entries are read at a time."""


class Ledger:
    """The ledger of one environment."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def erase(self, user_id: str) -> int:
        """Remove all events of a user and return how many there were. Repeating it does no harm."""
        key, start, erased = self._keys.ledger(bucket_of(user_id)), "-", 0
        while True:
            (reply,), _ = await self._store.call(("XRANGE", key, start, "+", "COUNT", str(CHUNK)))
            entries = cast("list[tuple[bytes, list[bytes]]]", reply)
            ids = [entry_id for entry_id, fields in entries if LedgerEntry.FromString(fields[1]).user_id == user_id]
            if ids:
                await self._store.call(("XDEL", key, *ids))
                erased += len(ids)
            if len(entries) < CHUNK:
                return erased
            start = "(" + entries[-1][0].decode()
