"""Ids of subscriptions. They contain the user's id, so no index is needed to find the subscription."""

from typing import Final

from canuse_server.api.tokens import base64url

LENGTH: Final = 256
"""Maximum length; ids of `encode` are shorter, even with a user id of 128 bytes."""
_PREFIX: Final = "sub"


def encode(user_id: str, token: str) -> str:
    """Return the id of a user's subscription."""
    return f"{_PREFIX}_{token}_{base64url.encode(user_id.encode())}"


def decode(subscription_id: str) -> tuple[str, str] | None:
    """Return the user id and the token of an id, or None if the id is invalid."""
    prefix, _, rest = subscription_id.partition("_")
    token, _, owner = rest.partition("_")
    try:
        user_id = base64url.decode(owner).decode()
    except ValueError:
        return None
    # Only the spelling of `encode` is valid.
    return (user_id, token) if user_id and encode(user_id, token) == subscription_id and prefix == _PREFIX else None
