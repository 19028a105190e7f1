"""What a page says after an action: a text of this table, and none from its address."""

from collections.abc import Mapping
from typing import Final

NOTICES: Final[Mapping[str, str]] = {
    "subscribed": "The user is subscribed.",
    "changed-package": "The package is changed.",
    "cancelled": "The subscription is cancelled.",
    "recorded": "The use is recorded.",
    "taken-back": "The use is taken back.",
    "granted": "The grant is made.",
    "grant-revoked": "The grant is revoked.",
    "disabled": "The user is disabled.",
    "enabled": "The user is enabled.",
    "deleted": "The user and all data about them are deleted.",
    "tokens-revoked": "All tokens of the user are revoked.",
    "user-created": "The user is created.",
    "user-changed": "The user is changed.",
    "feature-created": "The feature is created.",
    "feature-changed": "The feature is changed.",
    "feature-archived": "The feature is archived.",
    "package-created": "The package is created, as a draft.",
    "package-changed": "The draft is saved.",
    "published": "The version is published.",
    "package-archived": "The package is archived.",
    "key-revoked": "The API key is revoked. Within a second no server accepts it.",
}


def notice(code: str) -> str:
    """Return a notice; empty where there is none."""
    return NOTICES.get(code, "")
