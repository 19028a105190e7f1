"""One environment as the servicers see it: its part of the store and what is set for it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from weakref import WeakValueDictionary

from canuse_server.api.last_known import LastKnown
from canuse_server.api.ratelimit.config import RateLimitRules
from canuse_server.runtime.fairness import FairSemaphore
from canuse_server.store.keys import Keys
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.catalog import CatalogStore
from canuse_server.store.repositories.catalog_cache import CatalogCache
from canuse_server.store.repositories.leases import Leases
from canuse_server.store.repositories.ledger import Ledger
from canuse_server.store.repositories.usage_commands import Retention
from canuse_server.store.repositories.users import Users


@dataclass(frozen=True, slots=True, eq=False)
class Environment:
    """An environment, `live` or `test`. `default_package`, if set, is what an unknown user gets when first seen."""

    environment: str
    store: Store
    keys: Keys
    users: Users
    leases: Leases
    catalog: CatalogStore
    cache: CatalogCache
    ledger: Ledger
    retention: Retention
    default_package: str
    rate_limits: RateLimitRules = field(default_factory=RateLimitRules)
    last_known: LastKnown = field(default_factory=LastKnown)
    user_semaphores: WeakValueDictionary[str, FairSemaphore] = field(default_factory=WeakValueDictionary)
    """For each user who is being changed, so that this server's own changes of one user do not race."""
    renewals: WeakValueDictionary[str, FairSemaphore] = field(default_factory=WeakValueDictionary)
    """The same for each user whose entitlements are brought up to date."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server is to end: what goes on for long has to come to a good end."""
    sibling: "Environment | None" = None
    """The other environment, where a rate limit request may ask for it by its domain: nobody's key says which."""

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
        """Make an environment by its name."""
        keys = Keys(environment)
        catalog = CatalogStore(store, keys)
        return cls(
            environment=environment,
            store=store,
            keys=keys,
            users=Users(store, keys, retention),
            leases=Leases(store, keys, retention.dedupe_ttl_ms),
            catalog=catalog,
            cache=CatalogCache(catalog, store, keys),
            ledger=Ledger(store, keys),
            retention=retention,
            default_package=default_package,
            rate_limits=rate_limits or RateLimitRules(),
            last_known=LastKnown() if last_known is None else last_known,
        )


class Environments(NamedTuple):
    """Both environments. They share the connection to the store, and none of what is in it."""

    live: Environment
    test: Environment
    open: Environment
    """What callers see who need no key: the live environment, and by the domain of a rate limit request the other."""

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
        """Make both environments on one store."""
        live = Environment.of(store, "live", retention, default_package, live_limits, last_known())
        test = Environment.of(store, "test", retention, default_package, test_limits, last_known())
        return cls(live, test, replace(live, sibling=test))

    async def refresh(self) -> None:
        """Read both catalogues, where they have changed."""
        await self.live.cache.refresh()
        await self.test.cache.refresh()

    def close(self) -> None:
        """Tell what goes on for long that the server is to end."""
        self.live.closing.set()
        self.test.closing.set()
