"""What an API key looks like: `sk_live_` or `sk_test_` and 256 random bits in hex. Only its SHA-256 is kept."""

import re
import secrets
from hashlib import sha256
from typing import Final

PREFIX: Final = "sk_"
_BITS: Final = 256
_CREDENTIALS: Final = re.compile(rb"(?i:bearer) +(sk_.*)", re.DOTALL)


def new_secret(environment: str) -> str:
    """Return a new key of an environment."""
    return f"{PREFIX}{environment}_{secrets.token_hex(_BITS // 8)}"


def new_id() -> str:
    """Return the name that a key has where its secret is not to be shown."""
    return f"key_{secrets.token_hex(8)}"


def digest(secret: bytes) -> bytes:
    """Return what is kept of a key. No salt, no slow hash: 256 random bits can't be guessed."""
    return sha256(secret).digest()


def read_credentials(authorization: bytes) -> bytes | None:
    """Return the key in the value of an `authorization` header, or None where that is about something else."""
    found = _CREDENTIALS.fullmatch(authorization)
    return found[1] if found else None
