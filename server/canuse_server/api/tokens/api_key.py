"""The format of API keys: `sk_live_`, `sk_test_`, `pk_live_` or `pk_test_`, and 256 random bits in hex.

`pk_` stands for a publishable key. Only the SHA-256 of a key is stored.
"""

import re
import secrets
from hashlib import sha256
from typing import Final

from canuse_server.domain.api_keys import KeyType

PREFIXES: Final = {KeyType.SECRET: "sk_", KeyType.PUBLISHABLE: "pk_"}
_BITS: Final = 256
_CREDENTIALS: Final = re.compile(rb"(?i:bearer) +((?:sk|pk|utk)_.*)", re.DOTALL)


class KeyId(bytes):
    """The id of an API key as credentials, for calls that the server makes for a holder who has logged in.

    It is a type of its own, so that no caller can send it: what comes from outside is a text or plain bytes.
    """


def new_secret(environment: str, key_type: KeyType = KeyType.SECRET) -> str:
    """Return a new secret for an environment."""
    return f"{PREFIXES[key_type]}{environment}_{secrets.token_hex(_BITS // 8)}"


def new_id() -> str:
    """Return a new id, which names a key without showing its secret."""
    return f"key_{secrets.token_hex(8)}"


def digest(secret: bytes) -> bytes:
    """Return the stored digest of a secret. 256 random bits cannot be guessed, so it needs no salt and no slow hash."""
    return sha256(secret).digest()


def read_credentials(authorization: bytes) -> bytes | None:
    """Return the API key or user token in the value of an `authorization` header, or None if it contains neither."""
    found = _CREDENTIALS.fullmatch(authorization)
    return found[1] if found else None
