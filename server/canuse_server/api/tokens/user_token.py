"""The format of user tokens: `utk_`, and in base64url what the token says and its HMAC-SHA256.

Bytes: format (1), environment (1), number of the signing key (4), expiry in ms (8), generation (8), user id, HMAC (32).
"""

import hmac
import re
from collections.abc import Mapping
from struct import Struct
from typing import Final

from canuse_server.api.tokens import base64url
from canuse_server.api.validation import ID_BYTES
from canuse_server.domain.api_keys import LIVE, TEST
from canuse_server.domain.user_tokens import SigningKey, UserToken, current_key
from canuse_server.store.errors import StoreUnavailableError

PREFIX: Final = "utk_"
_FORMAT: Final = 1
_ENVIRONMENTS: Final = {LIVE: 1, TEST: 2}
_NAMES: Final = {number: name for name, number in _ENVIRONMENTS.items()}
_HEAD: Final = Struct(">BBIQ8s")
_MAC_BYTES: Final = 32
_MAX_BYTES: Final = _HEAD.size + ID_BYTES + _MAC_BYTES
_TOKEN: Final = re.compile(rf"{PREFIX}([A-Za-z0-9_-]{{1,{-(-_MAX_BYTES * 4 // 3)}}})".encode())


class UserTokens:
    """Signs and verifies tokens with the signing keys, as they were last read. Tokens themselves are not stored."""

    def __init__(self) -> None:
        self.keys: Mapping[int, SigningKey] = {}
        """The signing keys by number."""

    def sign(self, token: UserToken, now_ms: int) -> str:
        """Return a token as text; raise StoreUnavailableError if no signing key has been read yet."""
        if not self.keys:
            raise StoreUnavailableError("no key that signs user tokens has been read yet")
        key = current_key(self.keys.values(), now_ms)
        environment = _ENVIRONMENTS[token.environment]
        head = _HEAD.pack(_FORMAT, environment, key.number, token.expires_at_ms, token.generation)
        signed = head + token.user_id.encode()
        return PREFIX + base64url.encode(signed + _mac(key, signed))

    def verify(self, text: bytes) -> UserToken | None:
        """Return what a token says, or None if it was not signed with one of the keys. Expiry is not checked."""
        found = _TOKEN.fullmatch(text)
        content = b"" if found is None else _decode(found[1].decode())
        signed, mac = content[:-_MAC_BYTES], content[-_MAC_BYTES:]
        if len(signed) <= _HEAD.size:
            return None
        token_format, environment, number, expires_at_ms, generation = _HEAD.unpack_from(signed)
        key = self.keys.get(number)
        if key is None or not hmac.compare_digest(mac, _mac(key, signed)):
            return None
        if token_format != _FORMAT or environment not in _NAMES:
            return None  # It was signed by a newer version of canuse.
        return UserToken(_NAMES[environment], signed[_HEAD.size :].decode(), generation, expires_at_ms)


def _mac(key: SigningKey, signed: bytes) -> bytes:
    return hmac.digest(key.secret, signed, "sha256")


def _decode(text: str) -> bytes:
    """Return the bytes of a text, or none if it is not the one text that stands for them."""
    try:
        content = base64url.decode(text)
    except ValueError:
        return b""
    return content if base64url.encode(content) == text else b""
