"""Digests of event ids, and fingerprints of the content of calls."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final

KEY_BYTES: Final = 32
DIGEST_BYTES: Final = 12
FINGERPRINT_BYTES: Final = 6

Content = str | bytes | int | Iterable["Content"] | None
"""The values that a call has in its request."""


class EventKey:
    """The key of the digests of event ids.

    It is kept in the store, so that all servers use the same one. It is secret, so that nobody can search for two ids
    with the same digest.
    """

    def __init__(self, key: bytes = b"") -> None:
        self.key = key

    @property
    def key(self) -> bytes:
        """The key; empty until it has been read from the store."""
        return self._key

    @key.setter
    def key(self, key: bytes) -> None:
        self._key = key
        self._keyed = blake2b(key=key, digest_size=DIGEST_BYTES)

    def digest(self, event_id: bytes) -> bytes:
        """Return the field of an event id in the hashes of stored answers."""
        keyed = self._keyed.copy()
        keyed.update(event_id)
        return keyed.digest()


def fingerprint(method: str, content: Content, metadata: Mapping[str, str]) -> bytes:
    """Return the fingerprint of a call's content, which shows when an event id is reused for other content."""
    serialized = _serialize((method, content, sorted(metadata.items())))
    return blake2b(serialized, digest_size=FINGERPRINT_BYTES).digest()


def _serialize(content: Content) -> bytes:
    """Return content as bytes. Each value has its type and length, so that different content has different bytes."""
    if content is None:
        return b"-"
    if isinstance(content, int):
        return b"i" + content.to_bytes(8, "little", signed=True)
    if isinstance(content, bytes):
        return b"b" + len(content).to_bytes(4, "little") + content
    if isinstance(content, str):
        text = content.encode()
        return b"s" + len(text).to_bytes(4, "little") + text
    parts = [_serialize(part) for part in content]
    return b"(" + len(parts).to_bytes(4, "little") + b"".join(parts)
