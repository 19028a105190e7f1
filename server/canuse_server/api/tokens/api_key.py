"""The format of API keys: `sk_live_` or `sk_test_`, and 256 random bits in hex. Only their SHA-256 is stored."""

import re
import secrets
from hashlib import sha256
from typing import Final

PREFIX: Final = "sk_"
_BITS: Final = 256
_CREDENTIALS: Final = re.compile(rb"(?i:bearer) +(sk_.*)", re.DOTALL)


def new_secret(environment: str) -> str:
    """Return a new secret for an environment."""
    return f"{PREFIX}{environment}_{secrets.token_hex(_BITS // 8)}"


def new_id() -> str:
    """Return a new id, which names a key without showing its secret."""
    return f"key_{secrets.token_hex(8)}"


def digest(secret: bytes) -> bytes:
    """Return the stored digest of a secret. 256 random bits cannot be guessed, so it needs no salt and no slow hash."""
    return sha256(secret).digest()


def read_credentials(authorization: bytes) -> bytes | None:
    """Return the secret in the value of an `authorization` header, or None if it contains no API key."""
    found = _CREDENTIALS.fullmatch(authorization)
    return found[1] if found else None
