"""API keys and scopes, and the rule that a deployment always keeps a key that can manage keys."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

LIVE: Final = "live"
TEST: Final = "test"
ENVIRONMENTS: Final = frozenset({LIVE, TEST})
MAX_API_KEYS: Final = 1000
"""Maximum number of keys: every server keeps all of them in memory."""


class KeyType(StrEnum):
    """What an API key is for: services, which keep it secret, or web pages, whose users can all read it."""

    SECRET = "secret"  # noqa: S105 - a name
    PUBLISHABLE = "publishable"


class Scope(StrEnum):
    """A permission of an API key. CATALOG_WRITE includes USERS_WRITE; no other scope includes another."""

    ENTITLEMENTS_READ = "entitlements:read"
    USAGE_WRITE = "usage:write"
    CATALOG_READ = "catalog:read"
    USERS_WRITE = "users:write"
    CATALOG_WRITE = "catalog:write"
    KEYS_ADMIN = "keys:admin"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. `digest` is the SHA-256 of the secret; `expires_at_ms` None means no expiry.

    Scopes, environments and types of a newer canuse that this version does not know give no permission.
    """

    id: str
    name: str
    environment: str
    scopes: frozenset[Scope]
    created_at_ms: int
    expires_at_ms: int | None
    digest: bytes = field(repr=False)
    unknown_scopes: frozenset[str] = frozenset()
    type: str = KeyType.SECRET


PUBLISHABLE_SCOPES: Final = frozenset({Scope.ENTITLEMENTS_READ})
"""The scopes of every publishable key."""


def may_manage(manager: str, environment: str) -> bool:
    """Whether a key of one environment can manage keys of another. `test` keys cannot manage `live` keys."""
    return manager in (LIVE, environment)


def is_manageable(keys: Iterable[ApiKey]) -> bool:
    """Whether one of the keys can manage keys of both environments and never expires."""
    return any(key.environment == LIVE and Scope.KEYS_ADMIN in key.scopes and key.expires_at_ms is None for key in keys)
