"""What the store keeps for user tokens: the keys that sign them, and the generation of each user's tokens."""

import json
import secrets
from typing import Final, NamedTuple, cast

from canuse_server.domain.user_tokens import GENERATION_BYTES, SigningKey, is_rotation_due, next_key, outdated_keys
from canuse_server.store.codec.audit_pb2 import AuditEntry
from canuse_server.store.codec.documents import UnreadableError, note_unreadable, read_document
from canuse_server.store.codec.user_values import TOKEN_GENERATION_FIELD
from canuse_server.store.keys import SIGNING_KEYS, Keys, bucket_of
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.audit.writing import AuditWriter
from canuse_server.store.scripts.loader import TOKEN_GENERATION

_SECRET_BYTES: Final = 32


class SigningKeysRead(NamedTuple):
    """All readable signing keys, the highest number in use, and the time."""

    keys: list[SigningKey]
    last_number: int
    now_ms: int


class SigningKeys:
    """The keys that sign user tokens, by number: one hash for all environments."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self) -> SigningKeysRead:
        """Return all keys."""
        (reply,), now_ms = await self._store.call(("HGETALL", SIGNING_KEYS))
        items = cast("list[bytes]", reply)
        keys = []
        for number, value in zip(items[::2], items[1::2], strict=True):
            try:
                keys.append(_decode(number, value))
            except UnreadableError as error:
                note_unreadable("signing key", number.decode(errors="replace"), error)
        numbers = (int(number) for number in items[::2] if number.isdigit())
        return SigningKeysRead(keys, max(numbers, default=0), now_ms)

    async def rotate(self, read: SigningKeysRead) -> bool:
        """Create the next key if that is due, and remove outdated ones; return whether it was due. Raises StoreError.

        If several servers do so at the same time, one creates the key.
        """
        keys, last_number, now_ms = read
        if not is_rotation_due(keys, now_ms):
            return False
        await self._store.require_data()
        new = next_key(keys, last_number, secrets.token_bytes(_SECRET_BYTES), now_ms)
        outdated = [str(key.number) for key in outdated_keys(keys, now_ms)]
        removal = [("HDEL", SIGNING_KEYS, *outdated)] if outdated else []
        await self._store.call(("HSETNX", SIGNING_KEYS, str(new.number), _encode(new)), *removal)
        return True


class TokenGenerations:
    """The generations of the users' tokens in one environment. They are deleted together with the user."""

    def __init__(self, store: Store, keys: Keys, audit: AuditWriter) -> None:
        self._store = store
        self._keys = keys
        self._audit = audit

    async def get(self, user_id: str) -> bytes | None:
        """Return the generation of a user's valid tokens, or None if no token of the user is valid."""
        (generation,), _ = await self._store.call(("HGET", self._keys.user(user_id), TOKEN_GENERATION_FIELD))
        return cast("bytes | None", generation)

    async def get_or_begin(self, user_id: str) -> bytes | None:
        """Return the generation for a new token of a user, or None if the user does not exist."""
        return await self._set(user_id, secrets.token_bytes(GENERATION_BYTES))

    async def end(self, user_id: str) -> bool:
        """Revoke all tokens of a user; return whether the user exists."""
        return await self._set(user_id, b"") is not None

    async def _set(self, user_id: str, generation: bytes) -> bytes | None:
        names = [self._keys.user(user_id), self._keys.audit(bucket_of(user_id))]
        audit = AuditEntry(user_id=user_id)
        reply = await self._store.run(TOKEN_GENERATION, names, generation, *self._audit.arguments(audit))
        if reply is None:
            return None
        current, changed = cast("tuple[bytes, int]", reply)
        if changed:
            self._audit.note(audit)
        return current


def _encode(key: SigningKey) -> bytes:
    return json.dumps({"secret": key.secret.hex(), "signs_from_ms": key.signs_from_ms}, separators=(",", ":")).encode()


def _decode(number: bytes, value: bytes) -> SigningKey:
    """Read a key; raise UnreadableError."""
    try:
        fields = read_document(value)
        return SigningKey(int(number), bytes.fromhex(fields["secret"]), int(fields["signs_from_ms"]))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        # The error's text can contain a part of the document, including the secret.
        raise UnreadableError(type(error).__name__) from None
