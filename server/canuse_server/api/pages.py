"""Page tokens: where the next page starts, opaque to callers."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from canuse_server.api.errors import ApiError, invalid

_PADDING: Final = "==="


def encode(last: str, group: int = 0) -> str:
    """Return the token for what follows an id, in the order of groups and ids."""
    return urlsafe_b64encode(json.dumps([group, last]).encode()).decode().rstrip("=")


def decode(token: str) -> tuple[int, str]:
    """Return the group and id after which a page starts; without a token, what comes before all."""
    if not token:
        return 0, ""
    try:
        group, last = json.loads(urlsafe_b64decode(token + _PADDING))
    except (ValueError, TypeError):
        raise _unknown(token) from None
    if not (isinstance(group, int) and isinstance(last, str)):
        raise _unknown(token)
    return group, last


def _unknown(token: str) -> ApiError:
    text = f"must be the next_page_token of an earlier answer, or empty; {token[:40]!r} was sent"
    return invalid([("page_token", text)])
