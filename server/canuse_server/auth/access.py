"""Access to a server: its API keys and its authorizer, according to the settings."""

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from canuse_server.api.environment import Environments
from canuse_server.auth.authorizer import Authorizer
from canuse_server.auth.bootstrap import create_first_key
from canuse_server.auth.key_cache import ApiKeyCache
from canuse_server.settings import Settings
from canuse_server.store.errors import StoreError
from canuse_server.store.repositories.api_keys import ApiKeys
from canuse_server.store.repositories.audit.writing import AuditWriter


@dataclass(frozen=True, slots=True)
class Access:
    """The keys in the store and in memory, and the authorizer that uses them."""

    keys: ApiKeys
    authorizer: Authorizer
    key_cache: ApiKeyCache
    publishable_keys: bool
    """Whether publishable keys may be created and used."""
    creates_first_key: bool
    """Whether this process creates the first key: keys are always required or the settings name one, and the process is
    not a worker."""
    bootstrap_key: str | None
    """The first key in the settings, see `create_first_key`."""

    @classmethod
    def of(
        cls, environments: Environments, settings: Settings, *, is_worker: bool = False, keys_seen: bool = False
    ) -> "Access":
        """Create an authorizer that refuses all calls until the keys were read. `keys_seen`: see Authorizer."""
        store, retention = environments.live.store, environments.live.retention
        keys = ApiKeys(store, AuditWriter(store, retention.audit_max_age_ms))
        on_loopback = is_loopback(settings.listen) and (not settings.http_listen or is_loopback(settings.http_listen))
        always_required = not (on_loopback or settings.insecure_no_auth)
        authorizer = Authorizer(
            environments,
            never_required=settings.insecure_no_auth,
            open_without_keys=on_loopback,
            keys_seen=keys_seen,
            publishable_keys=settings.publishable_keys,
        )
        return cls(
            keys,
            authorizer,
            ApiKeyCache(keys, authorizer),
            publishable_keys=settings.publishable_keys,
            creates_first_key=(always_required or settings.bootstrap_key is not None) and not is_worker,
            bootstrap_key=settings.bootstrap_key,
        )

    async def open(self) -> None:
        """Read the keys. If keys are required and none exists, create the first one.

        Raises:
            StoreError: the store is unavailable.
            BootstrapKeyError: the settings name a first key that cannot be used.
        """
        if self.creates_first_key:
            await create_first_key(self.keys, self.bootstrap_key)
        await self.key_cache.refresh()
        with suppress(StoreError):  # The store may refuse writes; it is tried again in the background.
            await self.key_cache.rotate_signing_keys()

    @property
    def description(self) -> str:
        """The access rule in the line printed at startup."""
        if not self.authorizer.is_open:
            return "by API key"
        return "open to all" if self.authorizer.is_always_open else "open on this machine until there is an API key"


def is_loopback(listen: str) -> bool:
    """Whether only this machine can reach an address. The only name recognized is `localhost`."""
    if listen.startswith("unix:"):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
