"""Who may call this server: its keys and its authorizer, as the settings and the keys that there are make them."""

from dataclasses import dataclass
from ipaddress import ip_address

from canuse_server.api.environment import Environments
from canuse_server.auth.authorizer import Authorizer
from canuse_server.auth.bootstrap import make_first_key
from canuse_server.auth.key_cache import ApiKeyCache
from canuse_server.settings import Settings
from canuse_server.store.repositories.api_keys import ApiKeys


@dataclass(frozen=True, slots=True)
class Access:
    """The keys in the store and in memory, and the authorizer that knows them."""

    keys: ApiKeys
    authorizer: Authorizer
    key_cache: ApiKeyCache
    makes_first_key: bool
    """Whether it makes a key where there is none: keys are demanded from the start, and no other process makes it."""

    @classmethod
    def of(
        cls, environments: Environments, settings: Settings, *, is_worker: bool = False, keys_seen: bool = False
    ) -> "Access":
        """Make an authorizer that lets nobody pass until the keys were read. `keys_seen`: see Authorizer."""
        keys = ApiKeys(environments.live.store)
        near = is_loopback(settings.listen)
        demanded = not (near or settings.insecure_no_auth)
        authorizer = Authorizer(
            environments, never_demand=settings.insecure_no_auth, open_without_keys=near, keys_seen=keys_seen
        )
        return cls(keys, authorizer, ApiKeyCache(keys, authorizer), makes_first_key=demanded and not is_worker)

    async def open(self) -> None:
        """Read the keys; where there are none and there has to be one, make the first one and print it.

        Raises:
            StoreError: the store is unavailable.
        """
        if self.makes_first_key:
            await make_first_key(self.keys)
        await self.key_cache.refresh()

    @property
    def description(self) -> str:
        """How calls are let in, for people."""
        if not self.authorizer.is_open:
            return "by API key"
        return "open to all" if self.authorizer.is_open_for_good else "open on this machine until there is an API key"


def is_loopback(listen: str) -> bool:
    """Whether only this machine can reach an address. Of names only `localhost` is known to be so."""
    if listen.startswith("unix:"):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
