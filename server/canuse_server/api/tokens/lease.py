"""Ids of leases: they hold the ids of the user and the feature, so that no index is needed to find whose they are."""

from typing import Final, NamedTuple

from canuse_server.api.tokens import base64url
from canuse_server.store.repositories.leases import TOKEN_BYTES

LENGTH: Final = 512
"""More than any id that `encode` makes: two ids of 128 bytes, encoded, are below it."""
_PREFIX: Final = "lease"
# No id of a user or a feature has a control character in it.
_SEPARATOR: Final = "\0"


class LeaseName(NamedTuple):
    """What an id of a lease stands for."""

    user_id: str
    feature_id: str
    token: bytes


def encode(name: LeaseName) -> str:
    """Return the id of a lease."""
    owner = base64url.encode(f"{name.user_id}{_SEPARATOR}{name.feature_id}".encode())
    return f"{_PREFIX}_{name.token.hex()}_{owner}"


def decode(lease_id: str) -> LeaseName | None:
    """Return what an id stands for, or None if it is not one of ours."""
    if len(lease_id) > LENGTH:
        return None
    _, _, rest = lease_id.partition("_")
    token, _, owner = rest.partition("_")
    try:
        user_id, feature_id = base64url.decode(owner).decode().split(_SEPARATOR)
        name = LeaseName(user_id, feature_id, bytes.fromhex(token))
    except ValueError:
        return None
    # Only the one spelling that `encode` gives is an id.
    is_whole = user_id and feature_id and len(name.token) == TOKEN_BYTES
    return name if is_whole and encode(name) == lease_id else None
