"""Ids of subscriptions: they hold the user's id, so that no index is needed to find whose they are."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

LENGTH: Final = 256
"""More than any id that `encode` makes: a token and an id of 128 bytes, encoded, are below it."""
_PREFIX: Final = "sub"
_PADDING: Final = "==="


def encode(user_id: str, token: str) -> str:
    """Return the id of a user's subscription."""
    return f"{_PREFIX}_{token}_{urlsafe_b64encode(user_id.encode()).decode().rstrip('=')}"


def decode(subscription_id: str) -> tuple[str, str] | None:
    """Return the user id and token that an id stands for, or None if it is not one of ours."""
    prefix, _, rest = subscription_id.partition("_")
    token, _, owner = rest.partition("_")
    try:
        user_id = urlsafe_b64decode(owner + _PADDING).decode()
    except ValueError:
        return None
    # Only the one spelling that `encode` gives is an id.
    return (user_id, token) if user_id and encode(user_id, token) == subscription_id and prefix == _PREFIX else None
