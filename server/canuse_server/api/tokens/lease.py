"""Ids of leases. They contain the ids of the user and the feature, so no index is needed to find the lease."""

from typing import Final, NamedTuple

from canuse_server.api.tokens import base64url
from canuse_server.store.repositories.leases import TOKEN_BYTES

LENGTH: Final = 512
"""Maximum length; ids of `encode` are shorter, even with two ids of 128 bytes."""
_PREFIX: Final = "lease"
# Ids of users and features contain no control characters.
_SEPARATOR: Final = "\0"


class LeaseName(NamedTuple):
    """The content of a lease id."""

    user_id: str
    feature_id: str
    token: bytes


def encode(name: LeaseName) -> str:
    """Return the id of a lease."""
    owner = base64url.encode(f"{name.user_id}{_SEPARATOR}{name.feature_id}".encode())
    return f"{_PREFIX}_{name.token.hex()}_{owner}"


def decode(lease_id: str) -> LeaseName | None:
    """Return the content of an id, or None if the id is invalid."""
    if len(lease_id) > LENGTH:
        return None
    _, _, rest = lease_id.partition("_")
    token, _, owner = rest.partition("_")
    try:
        user_id, feature_id = base64url.decode(owner).decode().split(_SEPARATOR)
        name = LeaseName(user_id, feature_id, bytes.fromhex(token))
    except ValueError:
        return None
    # Only the spelling of `encode` is valid.
    is_complete = user_id and feature_id and len(name.token) == TOKEN_BYTES
    return name if is_complete and encode(name) == lease_id else None
