"""API keys of all environments: one hash, and a stamp that every change replaces."""

import json
from collections.abc import Mapping
from typing import Final, NamedTuple, cast

from canuse_server.domain.api_keys import ENVIRONMENTS, ApiKey, KeyType, Scope
from canuse_server.store.codec.audit_pb2 import AuditEntry
from canuse_server.store.codec.documents import UnreadableError, note_unknown, note_unreadable, read_document
from canuse_server.store.errors import ConflictError
from canuse_server.store.keys import API_KEYS, API_KEYS_AUDIT, API_KEYS_CHANNEL, API_KEYS_USED, API_KEYS_VERSION
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.audit.writing import AuditWriter
from canuse_server.store.repositories.stamps import random_part
from canuse_server.store.scripts.loader import PUT_API_KEY

_SCOPES: Final = frozenset(map(str, Scope))
_TYPES: Final = frozenset(map(str, KeyType))


class KeysRead(NamedTuple):
    """All readable keys, the stamp that they were read at, and the time."""

    stamp: bytes
    keys: list[ApiKey]
    now_ms: int
    total: int
    """Number of keys, including unreadable ones."""

    @property
    def ever_existed(self) -> bool:
        """Whether a key exists or existed. The last key cannot be revoked, so a stamp without keys means data loss."""
        return self.total > 0 or self.stamp != b""


class ApiKeys:
    """The keys of all environments."""

    channel = API_KEYS_CHANNEL

    def __init__(self, store: Store, audit: AuditWriter) -> None:
        self.store = store
        self._audit = audit

    async def stamp(self) -> tuple[bytes, int]:
        """Return the stamp that every change replaces, empty before the first change, and the time."""
        (value,), now_ms = await self.store.call(("GET", API_KEYS_VERSION))
        return cast("bytes | None", value) or b"", now_ms

    async def read(self) -> KeysRead:
        """Return all keys. The stamp is read first, so a concurrent change makes it differ from the current one."""
        (stamp, reply), now_ms = await self.store.call(("GET", API_KEYS_VERSION), ("HGETALL", API_KEYS))
        items = cast("list[bytes]", reply)
        keys = []
        for key_id, value in zip(items[::2], items[1::2], strict=True):
            try:
                keys.append(_decode(value))
            except UnreadableError as error:
                note_unreadable("API key", key_id.decode(errors="replace"), error)
        return KeysRead(cast("bytes | None", stamp) or b"", keys, now_ms, len(items) // 2)

    async def put(self, stamp: bytes, key: ApiKey) -> None:
        """Store a new key; raise ConflictError if the keys have changed since `stamp`."""
        await self.store.require_data()
        await self._write(stamp, key, _encode(key))

    async def remove(self, stamp: bytes, key: ApiKey) -> None:
        """Delete a key; raise ConflictError if the keys have changed since `stamp`."""
        await self._write(stamp, key, b"")

    async def _write(self, stamp: bytes, key: ApiKey, value: bytes) -> None:
        names = [API_KEYS, API_KEYS_VERSION, API_KEYS_USED, API_KEYS_AUDIT]
        change = (stamp, key.id, value, API_KEYS_CHANNEL, random_part())
        audit = AuditEntry(api_key_id=key.id, environment=key.environment)
        if not await self.store.run(PUT_API_KEY, names, *change, *self._audit.arguments(audit)):
            raise ConflictError
        self._audit.note(audit)

    async def note_used(self, times_ms: Mapping[str, int]) -> None:
        """Store the times of last use by key id. A stored later time is kept."""
        arguments = [item for key_id, time_ms in times_ms.items() for item in (str(time_ms), key_id)]
        await self.store.call(("ZADD", API_KEYS_USED, "GT", *arguments))

    async def used(self) -> dict[str, int]:
        """Return the time of last use by key id, without keys that were never used."""
        (reply,), _ = await self.store.call(("ZRANGE", API_KEYS_USED, "0", "-1", "WITHSCORES"))
        items = cast("list[bytes]", reply)
        return {key_id.decode(): int(float(score)) for key_id, score in zip(items[::2], items[1::2], strict=True)}


def _encode(key: ApiKey) -> bytes:
    fields = {
        "id": key.id,
        "name": key.name,
        "environment": key.environment,
        "type": key.type,
        "scopes": sorted(key.scopes),
        "created_at_ms": key.created_at_ms,
        "expires_at_ms": key.expires_at_ms,
        "sha256": key.digest.hex(),
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _decode(value: bytes) -> ApiKey:
    """Read a key; raise UnreadableError. Scopes, environments and types of a newer canuse give no permission."""
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
            type=str(fields.get("type", KeyType.SECRET)),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        # The error's text can contain a part of the document, including the digest.
        raise UnreadableError(type(error).__name__) from None
    for scope in key.unknown_scopes:
        note_unknown("API key", key.id, "scopes", scope)
    if key.environment not in ENVIRONMENTS:
        note_unknown("API key", key.id, "environment", key.environment)
    if key.type not in _TYPES:
        note_unknown("API key", key.id, "type", key.type)
    return key
