"""Ids of subscriptions: they hold the user's id, so that no index is needed to find whose they are."""

from typing import Final

from canuse_server.api.tokens import base64url

LENGTH: Final = 256
"""More than any id that `encode` makes: a token and an id of 128 bytes, encoded, are below it."""
_PREFIX: Final = "sub"


def encode(user_id: str, token: str) -> str:
    """Return the id of a user's subscription."""
    return f"{_PREFIX}_{token}_{base64url.encode(user_id.encode())}"


def decode(subscription_id: str) -> tuple[str, str] | None:
    """Return the user id and token that an id stands for, or None if it is not one of ours."""
    prefix, _, rest = subscription_id.partition("_")
    token, _, owner = rest.partition("_")
    try:
        user_id = base64url.decode(owner).decode()
    except ValueError:
        return None
    # Only the one spelling that `encode` gives is an id.
    return (user_id, token) if user_id and encode(user_id, token) == subscription_id and prefix == _PREFIX else None
