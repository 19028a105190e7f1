"""API keys: what each says about its holder, and the rule that keeps a deployment from locking itself out."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

LIVE: Final = "live"
TEST: Final = "test"
ENVIRONMENTS: Final = frozenset({LIVE, TEST})
MAX_API_KEYS: Final = 1000
"""How many keys there may be: every server has all of them in memory."""


class Scope(StrEnum):
    """What a key may be good for. None of them includes another."""

    ENTITLEMENTS_READ = "entitlements:read"
    USAGE_WRITE = "usage:write"
    CATALOG_READ = "catalog:read"
    CATALOG_WRITE = "catalog:write"
    KEYS_ADMIN = "keys:admin"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. `digest` is the SHA-256 of it; `expires_at_ms` None: never.

    A newer canuse may have given it scopes and an environment that this one does not know: they give nothing.
    """

    id: str
    name: str
    environment: str
    scopes: frozenset[Scope]
    created_at_ms: int
    expires_at_ms: int | None
    digest: bytes = field(repr=False)
    unknown_scopes: frozenset[str] = frozenset()


def may_manage(manager: str, environment: str) -> bool:
    """Whether keys of one environment manage those of another. Those of `test` do not: it would be a way to `live`."""
    return manager in (LIVE, environment)


def is_manageable(keys: Iterable[ApiKey]) -> bool:
    """Whether one of the keys can always make and revoke others, in both environments: else nobody could any more."""
    return any(key.environment == LIVE and Scope.KEYS_ADMIN in key.scopes and key.expires_at_ms is None for key in keys)
