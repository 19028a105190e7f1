"""Reads the store of a running server, for tests about what is stored."""

from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from redis import Redis

from canuse_server.store.codec.ledger_pb2 import LedgerEntry
from canuse_server.store.keys import Keys, bucket_of

KEYS: Final = Keys("live")


class StoreInspector:
    """A view of the store of a running server."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    def user(self, user_id: str) -> dict[bytes, bytes]:
        """Return the hash of a user."""
        return cast("dict[bytes, bytes]", self._redis.hgetall(KEYS.user(user_id)))

    def copy_user(self, user_id: str, others: Iterable[str]) -> None:
        """Create copies of a user, faster than through the API; the user must have no profile."""
        fields = self.user(user_id)
        assert self.kinds_of_keys(user_id) == {"u"}
        with self._redis.pipeline(transaction=False) as pipeline:
            for other in others:
                pipeline.hset(KEYS.user(other), mapping=fields)
                pipeline.sadd(KEYS.users(bucket_of(other)), other)
            pipeline.execute()

    def everything(self) -> bytes:
        """Return the names and contents of all keys, concatenated."""
        return b"\n".join(key + repr(self._contents(key)).encode() for key in self._redis.scan_iter())

    def audit_log(self, user_id: str) -> str:
        """Return the name of the audit log of a user's bucket."""
        return KEYS.audit(bucket_of(user_id))

    def names_with(self, text: str) -> list[str]:
        """Return the names of the keys that have a text in their name or content, sorted."""
        found = text.encode()
        names = (key for key in self._redis.scan_iter() if found in key or found.decode() in repr(self._contents(key)))
        return sorted(name.decode() for name in names)

    def _contents(self, key: str | bytes) -> object:
        """Return the content of a key, without an order where it has none."""
        read: dict[bytes, Callable[[str | bytes], object]] = {
            b"hash": self._redis.hgetall,
            b"set": self._redis.smembers,
            b"zset": lambda key: self._redis.zrange(key, 0, -1, withscores=True),
            b"stream": self._redis.xrange,
            b"string": self._redis.get,
            b"none": lambda _: None,
        }
        return read[self._redis.type(key)](key)

    def kinds_of_keys(self, user_id: str) -> set[str]:
        """Return the kinds of the keys that belong to a user alone: `u`, `d0`."""
        names = {key.decode().split(":", 3)[3] for key in self._redis.scan_iter(match=f"canuse:live:*:*:{user_id}")}
        return {name.partition(":")[0] for name in names}

    def dump(self, *users: str) -> list[object]:
        """Return everything stored of some users and of the catalogue."""
        keys = [KEYS.features, KEYS.feature_ids, KEYS.packages, KEYS.package_ids, KEYS.package_versions]
        for user_id in users:
            keys += [KEYS.user(user_id), KEYS.profile(user_id), KEYS.history(user_id), *KEYS.events(user_id)]
            keys += [KEYS.grants(user_id), KEYS.ended(user_id)]
            keys += [KEYS.users(bucket_of(user_id)), KEYS.ledger(bucket_of(user_id))]
        return [self._contents(key) for key in keys]

    def ledger(self, user_id: str) -> dict[str, LedgerEntry]:
        """Return the ledger with a user's events, by entry id, oldest first."""
        entries = self._redis.xrange(KEYS.ledger(bucket_of(user_id)))
        return {entry_id.decode(): LedgerEntry.FromString(fields[b"e"]) for entry_id, fields in entries}

    def broken_chains(self, user_id: str) -> list[int]:
        """Return the remaining lifetime, in milliseconds, of each mark of a broken chain in a user's bucket."""
        marks = self._redis.scan_iter(match=KEYS.chain(user_id, "*"))
        return [int(self._redis.pttl(mark)) for mark in marks]

    def connections(self) -> int:
        """Return how many connections the store has accepted since it started."""
        return int(self._redis.info("stats")["total_connections_received"])


def user_in_same_bucket(user_id: str) -> str:
    """Return the id of another user whose events are in the same ledger."""
    others = (f"{user_id}-{number}" for number in range(1_000_000))
    return next(other for other in others if bucket_of(other) == bucket_of(user_id))
