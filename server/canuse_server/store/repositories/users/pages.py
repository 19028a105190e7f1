"""Listing the ids of users, in the order of buckets and ids."""

from typing import Final, cast

from canuse_server.store.keys import BUCKETS, Keys
from canuse_server.store.redis.client import Store

MAX_IDS_READ: Final = 20_000
"""Maximum number of user ids that one search by prefix reads."""


class UserPages:
    """Lists the users of one environment."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def page(self, after: tuple[int, str], size: int) -> list[str]:
        """Return up to `size` user ids after a bucket and id, in the order of buckets and ids."""
        bucket, last = after
        found: list[str] = []
        step = 1
        while bucket < BUCKETS and len(found) < size:
            buckets = range(bucket, min(bucket + step, BUCKETS))
            # With many users one bucket fills a page; with few users a page needs all buckets.
            step *= 2
            replies, _ = await self._store.call(*(("SMEMBERS", self._keys.users(number)) for number in buckets))
            for number, members in zip(buckets, replies, strict=True):
                ids = sorted(member.decode() for member in cast("list[bytes]", members))
                found += [user_id for user_id in ids if number > after[0] or user_id > last]
            bucket = buckets.stop
        return found[:size]

    async def page_with_prefix(self, after: tuple[int, str], prefix: str, size: int) -> tuple[list[str], str]:
        """Return up to `size` user ids with a prefix after a bucket and id, and the last id that was read.

        That is empty if there are no further ones. A page reads a bounded number of ids.
        """
        ids = await self.page(after, MAX_IDS_READ + 1)
        found: list[str] = []
        for user_id in ids[:MAX_IDS_READ]:
            if user_id.startswith(prefix):
                found.append(user_id)
                if len(found) == size:
                    return found, "" if user_id == ids[-1] else user_id
        return found, "" if len(ids) <= MAX_IDS_READ else ids[MAX_IDS_READ - 1]
