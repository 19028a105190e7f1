"""Finds users by a value of their profile."""

import asyncio
from collections.abc import Iterable
from contextvars import Context
from typing import Final, cast

from canuse_server.runtime.call_state import unconfirmed
from canuse_server.runtime.fairness import yield_if_due
from canuse_server.store.codec.documents import UnreadableError, decode_profile
from canuse_server.store.codec.user_index import Entry, entries_of, entry_of
from canuse_server.store.keys import BUCKETS, Keys, bucket_of
from canuse_server.store.redis.client import Store
from canuse_server.store.scripts.loader import INDEX_USER

BUCKETS_AT_ONCE: Final = 128
PROFILES_AT_ONCE: Final = 500


class UserSearch:
    """The indexes of the users of one environment.

    The first search makes them; from then on changes of profiles keep them up to date.
    """

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self._complete = False
        self._completion: asyncio.Task[None] | None = None

    async def page(self, field: str, value: str, after: tuple[int, str], size: int) -> list[str]:
        """Return up to `size` user ids after a bucket and id, in the order of buckets and ids.

        All users whose profile has this value in a field are among them, and rarely one that has another value.
        """
        await self._complete_once()
        entry, first = entry_of(field, value), after[0]
        found: list[str] = []
        while first < BUCKETS and len(found) < size:
            buckets = range(first, min(first + BUCKETS_AT_ONCE, BUCKETS))
            replies, _ = await self._store.call(*(self._lookup(entry, bucket) for bucket in buckets))
            for bucket, members in zip(buckets, replies, strict=True):
                ids = sorted(member.decode() for member in cast("list[bytes]", members))
                found += [user_id for user_id in ids if bucket > after[0] or user_id > after[1]]
            first = buckets.stop
        return found[:size]

    def _lookup(self, entry: Entry, bucket: int) -> tuple[str, ...]:
        score = str(entry.score)
        return "ZRANGEBYSCORE", self._keys.index(entry.field, bucket, entry.part), score, score

    async def _complete_once(self) -> None:
        """Wait until the indexes contain all users. That goes on when the call that waits ends."""
        if self._complete:
            return
        if self._completion is None or self._completion.done():
            # In a context of its own: it does not share the deadline of the call.
            self._completion = asyncio.create_task(self._enter_all(), context=Context())
        await asyncio.shield(self._completion)

    async def _enter_all(self) -> None:
        (known,), _ = await self._store.call(("GET", self._keys.users_indexed))
        if known is None:
            with unconfirmed():
                for bucket in range(BUCKETS):
                    # From here on users who are created or changed are entered by the script that does it.
                    await self._store.change(("SET", self._keys.has_indexes(bucket), ""))
                    (members,), _ = await self._store.call(("SMEMBERS", self._keys.users(bucket)))
                    ids = [member.decode() for member in cast("list[bytes]", members)]
                    for at in range(0, len(ids), PROFILES_AT_ONCE):
                        await self._enter(ids[at : at + PROFILES_AT_ONCE])
                await self._store.change(("SET", self._keys.users_indexed, "1"))
        self._complete = True

    async def _enter(self, user_ids: Iterable[str]) -> None:
        profiles = {user_id: self._keys.profile(user_id) for user_id in user_ids}
        replies, _ = await self._store.call(*(("GET", key) for key in profiles.values()))
        for (user_id, key), value in zip(profiles.items(), cast("list[bytes | None]", replies), strict=True):
            await yield_if_due()
            try:
                entries = [] if value is None else entries_of(decode_profile(value))
            except UnreadableError:
                continue
            if value is not None and entries:
                bucket = bucket_of(user_id)
                indexes = [self._keys.index(entry.field, bucket, entry.part) for entry in entries]
                scores = (str(entry.score) for entry in entries)
                await self._store.run(INDEX_USER, [key, *indexes], value, user_id, *scores)
