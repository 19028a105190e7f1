"""API keys in the store, outside of the environments: one hash, and a version that each change raises."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from canuse_server.domain.api_keys import ApiKey, Scope
from canuse_server.store.client import Store
from canuse_server.store.errors import ConflictError
from canuse_server.store.keys import API_KEYS, API_KEYS_CHANNEL, API_KEYS_USED, API_KEYS_VERSION
from canuse_server.store.lua import PUT_API_KEY


class KeysRead(NamedTuple):
    """All keys, at a version, and what the store's clock showed then."""

    version: int
    keys: list[ApiKey]
    now_ms: int


class ApiKeys:
    """The keys of all environments."""

    channel = API_KEYS_CHANNEL

    def __init__(self, store: Store) -> None:
        self.store = store

    async def version(self) -> tuple[int, int]:
        """Return the number that every change raises, and the time."""
        (value,), now_ms = await self.store.call(("GET", API_KEYS_VERSION))
        return _number(value), now_ms

    async def read(self) -> KeysRead:
        """Return all keys. What is changed meanwhile is not missed: the version is the one from before."""
        (version, values), now_ms = await self.store.call(("GET", API_KEYS_VERSION), ("HVALS", API_KEYS))
        return KeysRead(_number(version), [_decode(value) for value in cast("list[bytes]", values)], now_ms)

    async def put(self, version: int, key: ApiKey) -> None:
        """Keep a new key; raises ConflictError where the keys have changed since a version."""
        await self._write(version, key.id, _encode(key))

    async def remove(self, version: int, key_id: str) -> None:
        """Forget a key; raises ConflictError where the keys have changed since a version."""
        await self._write(version, key_id, b"")

    async def _write(self, version: int, key_id: str, value: bytes) -> None:
        keys = [API_KEYS, API_KEYS_VERSION, API_KEYS_USED]
        if not await self.store.run(PUT_API_KEY, keys, str(version), key_id, value, API_KEYS_CHANNEL):
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


def _number(value: object) -> int:
    return int(cast("bytes", value)) if value else 0


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
    fields: dict[str, Any] = json.loads(value)
    known = {str(scope) for scope in Scope}
    return ApiKey(
        id=fields["id"],
        name=fields["name"],
        environment=fields["environment"],
        # A newer canuse on the same store may know others.
        scopes=frozenset(Scope(scope) for scope in fields["scopes"] if scope in known),
        created_at_ms=fields["created_at_ms"],
        expires_at_ms=fields["expires_at_ms"],
        digest=bytes.fromhex(fields["sha256"]),
    )
