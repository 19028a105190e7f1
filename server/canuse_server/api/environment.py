"""The environments: each has its own part of the store and its own settings."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from weakref import WeakValueDictionary

from canuse_server.api.last_known import LastKnown
from canuse_server.api.ratelimit.config import RateLimitRules
from canuse_server.api.repeated_checks import RepeatedChecks
from canuse_server.runtime.fairness import FairSemaphore
from canuse_server.store.keys import Keys
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.audit.log import AuditLog
from canuse_server.store.repositories.audit.writing import AuditWriter
from canuse_server.store.repositories.catalog import CatalogStore
from canuse_server.store.repositories.catalog_cache import CatalogCache
from canuse_server.store.repositories.catalog_snapshot import CatalogSnapshots
from canuse_server.store.repositories.leases import Leases
from canuse_server.store.repositories.ledger import Ledger
from canuse_server.store.repositories.usage_commands import Retention
from canuse_server.store.repositories.user_search import UserSearch
from canuse_server.store.repositories.user_tokens import TokenGenerations
from canuse_server.store.repositories.users.users import Users


@dataclass(frozen=True, slots=True, eq=False)
class Environment:
    """An environment, `live` or `test`. `default_package` is the package that an unknown user gets; empty: none."""

    environment: str
    store: Store
    keys: Keys
    users: Users
    search: UserSearch
    leases: Leases
    token_generations: TokenGenerations
    catalog: CatalogStore
    cache: CatalogCache
    snapshots: CatalogSnapshots
    ledger: Ledger
    audit: AuditLog
    retention: Retention
    default_package: str
    rate_limits: RateLimitRules = field(default_factory=RateLimitRules)
    last_known: LastKnown = field(default_factory=LastKnown)
    repeated_checks: RepeatedChecks = field(default_factory=RepeatedChecks)
    user_semaphores: WeakValueDictionary[str, FairSemaphore] = field(default_factory=WeakValueDictionary)
    """One for each user who is being changed, so that this server's own changes of a user do not conflict."""
    renewals: WeakValueDictionary[str, FairSemaphore] = field(default_factory=WeakValueDictionary)
    """One for each user whose entitlements are being renewed."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server stops: long operations must finish cleanly."""
    sibling: "Environment | None" = None
    """The other environment, if a rate limit request without a key may select it by its domain."""

    @classmethod
    def of(
        cls,
        store: Store,
        environment: str,
        retention: Retention,
        default_package: str,
        rate_limits: RateLimitRules | None = None,
        last_known: LastKnown | None = None,
    ) -> "Environment":
        """Create the environment with a name."""
        keys = Keys(environment)
        writer = AuditWriter(store, retention.audit_max_age_ms)
        catalog = CatalogStore(store, keys, writer)
        return cls(
            environment=environment,
            store=store,
            keys=keys,
            users=Users(store, keys, retention),
            search=UserSearch(store, keys),
            leases=Leases(store, keys, retention.dedupe_ttl_ms),
            token_generations=TokenGenerations(store, keys, writer),
            catalog=catalog,
            cache=CatalogCache(catalog, store, keys),
            snapshots=CatalogSnapshots(store, keys, writer),
            ledger=Ledger(store, keys),
            audit=AuditLog(store, keys, retention.audit_max_age_ms),
            retention=retention,
            default_package=default_package,
            rate_limits=rate_limits or RateLimitRules(),
            last_known=LastKnown() if last_known is None else last_known,
        )

    def without_default_package(self) -> "Environment":
        """Return this environment as one in which no call creates a user."""
        return replace(self, default_package="") if self.default_package else self


class Environments(NamedTuple):
    """Both environments. They share the connection to the store, but no data."""

    live: Environment
    test: Environment
    open: Environment
    """The environment of callers without a key: live, or test by the domain of a rate limit request."""

    @classmethod
    def of(
        cls,
        store: Store,
        retention: Retention,
        default_package: str,
        live_limits: RateLimitRules,
        test_limits: RateLimitRules,
        last_known: Callable[[], LastKnown] = LastKnown,
    ) -> "Environments":
        """Create both environments on one store."""
        live = Environment.of(store, "live", retention, default_package, live_limits, last_known())
        test = Environment.of(store, "test", retention, default_package, test_limits, last_known())
        return cls(live, test, replace(live, sibling=test))

    async def refresh(self) -> None:
        """Read both catalogues if they have changed."""
        await self.live.cache.refresh()
        await self.test.cache.refresh()

    def close(self) -> None:
        """Notify long operations that the server stops."""
        self.live.closing.set()
        self.test.closing.set()
