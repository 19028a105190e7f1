"""Page tokens: where the next page starts, opaque to callers."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from canuse_server.api.errors import ApiError, invalid

_PADDING: Final = "==="
LENGTH: Final = 1024
"""More than any token that `encode` makes: an id of 128 bytes, escaped and encoded, is below it."""


def encode(last: str, group: int = 0) -> str:
    """Return the token for what follows an id, in the order of groups and ids."""
    return urlsafe_b64encode(json.dumps([group, last]).encode()).decode().rstrip("=")


def decode(token: str) -> tuple[int, str]:
    """Return the group and id after which a page starts; without a token, what comes before all."""
    if not token:
        return 0, ""
    try:
        if len(token) > LENGTH:
            raise unknown(token)
        group, last = json.loads(urlsafe_b64decode(token + _PADDING))
        if not (isinstance(group, int) and isinstance(last, str) and group >= 0):
            raise unknown(token)
        last.encode()  # Half of a surrogate pair is no text.
    except (ValueError, TypeError, RecursionError):
        raise unknown(token) from None
    return group, last


def unknown(token: str) -> ApiError:
    """Return the error for a token that no answer held."""
    text = f"must be the next_page_token of an earlier answer, or empty; {token[:40]!r} was sent"
    return invalid([("page_token", text)])
