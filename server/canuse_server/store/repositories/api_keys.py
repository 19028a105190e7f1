"""API keys in the store, outside of the environments: one hash, and a stamp that each change replaces."""

import json
from collections.abc import Mapping
from typing import Final, NamedTuple, cast

from canuse_server.domain.api_keys import ENVIRONMENTS, ApiKey, Scope
from canuse_server.store.codec.documents import UnreadableError, note_unknown, note_unreadable, read_document
from canuse_server.store.errors import ConflictError
from canuse_server.store.keys import API_KEYS, API_KEYS_CHANNEL, API_KEYS_USED, API_KEYS_VERSION
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.stamps import random_part
from canuse_server.store.scripts.loader import PUT_API_KEY

_SCOPES: Final = frozenset(map(str, Scope))


class KeysRead(NamedTuple):
    """All keys that can be read, at a stamp, and what the store's clock showed then."""

    stamp: bytes
    keys: list[ApiKey]
    now_ms: int
    total: int
    """How many there are, with those that can't be read."""

    @property
    def were_made(self) -> bool:
        """Whether there are or were any: the last one can not be revoked, so that a stamp without keys means a loss."""
        return self.total > 0 or self.stamp != b""


class ApiKeys:
    """The keys of all environments."""

    channel = API_KEYS_CHANNEL

    def __init__(self, store: Store) -> None:
        self.store = store

    async def stamp(self) -> tuple[bytes, int]:
        """Return what every change replaces, empty where there was none yet, and the time."""
        (value,), now_ms = await self.store.call(("GET", API_KEYS_VERSION))
        return cast("bytes | None", value) or b"", now_ms

    async def read(self) -> KeysRead:
        """Return all keys. What is changed meanwhile is not missed: the stamp is the one from before."""
        (stamp, reply), now_ms = await self.store.call(("GET", API_KEYS_VERSION), ("HGETALL", API_KEYS))
        words = cast("list[bytes]", reply)
        keys = []
        for key_id, value in zip(words[::2], words[1::2], strict=True):
            try:
                keys.append(_decode(value))
            except UnreadableError as error:
                note_unreadable("API key", key_id.decode(errors="replace"), error)
        return KeysRead(cast("bytes | None", stamp) or b"", keys, now_ms, len(words) // 2)

    async def put(self, stamp: bytes, key: ApiKey) -> None:
        """Keep a new key; raises ConflictError where the keys have changed since they had a stamp."""
        await self.store.require_data()
        await self._write(stamp, key.id, _encode(key))

    async def remove(self, stamp: bytes, key_id: str) -> None:
        """Forget a key; raises ConflictError where the keys have changed since they had a stamp."""
        await self._write(stamp, key_id, b"")

    async def _write(self, stamp: bytes, key_id: str, value: bytes) -> None:
        keys = [API_KEYS, API_KEYS_VERSION, API_KEYS_USED]
        if not await self.store.run(PUT_API_KEY, keys, stamp, key_id, value, API_KEYS_CHANNEL, random_part()):
            raise ConflictError

    async def note_used(self, moments: Mapping[str, int]) -> None:
        """Note when keys were used; an earlier moment than the one that is known changes nothing."""
        pairs = [word for key_id, time_ms in moments.items() for word in (str(time_ms), key_id)]
        await self.store.call(("ZADD", API_KEYS_USED, "GT", *pairs))

    async def used(self) -> dict[str, int]:
        """Return when each key was used last, by id; a key that never was is not among them."""
        (reply,), _ = await self.store.call(("ZRANGE", API_KEYS_USED, "0", "-1", "WITHSCORES"))
        words = cast("list[bytes]", reply)
        return {key_id.decode(): int(float(score)) for key_id, score in zip(words[::2], words[1::2], strict=True)}


def _encode(key: ApiKey) -> bytes:
    fields = {
        "id": key.id,
        "name": key.name,
        "environment": key.environment,
        "scopes": sorted(key.scopes),
        "created_at_ms": key.created_at_ms,
        "expires_at_ms": key.expires_at_ms,
        "sha256": key.digest.hex(),
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _decode(value: bytes) -> ApiKey:
    """Read a key; raises UnreadableError. Scopes and environments of a newer canuse are kept, and give nothing."""
    try:
        fields = read_document(value)
        scopes = [str(scope) for scope in fields["scopes"]]
        expires_at_ms = fields["expires_at_ms"]
        key = ApiKey(
            id=str(fields["id"]),
            name=str(fields["name"]),
            environment=str(fields["environment"]),
            scopes=frozenset(Scope(scope) for scope in scopes if scope in _SCOPES),
            created_at_ms=int(fields["created_at_ms"]),
            expires_at_ms=None if expires_at_ms is None else int(expires_at_ms),
            digest=bytes.fromhex(fields["sha256"]),
            unknown_scopes=frozenset(scopes) - _SCOPES,
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        # Its text may hold a part of the document, and with that of the digest.
        raise UnreadableError(type(error).__name__) from None
    for scope in key.unknown_scopes:
        note_unknown("API key", key.id, "scopes", scope)
    if key.environment not in ENVIRONMENTS:
        note_unknown("API key", key.id, "environment", key.environment)
    return key
