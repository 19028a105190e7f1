"""Who may call this server: its keys and its gate, as the settings and the keys that there are make them."""

from dataclasses import dataclass
from ipaddress import ip_address

from canuse_server.api.environment import Worlds
from canuse_server.auth.authorizer import Gate
from canuse_server.auth.bootstrap import make_first_key
from canuse_server.auth.key_cache import Keyring
from canuse_server.settings import Settings
from canuse_server.store.repositories.api_keys import ApiKeys


@dataclass(frozen=True, slots=True)
class Access:
    """The keys in the store and in memory, and the gate that they open."""

    keys: ApiKeys
    gate: Gate
    keyring: Keyring
    makes_first_key: bool
    """Whether it makes a key where there is none: keys are demanded from the start, and no other process makes it."""

    @classmethod
    def of(cls, worlds: Worlds, settings: Settings, *, is_worker: bool = False, keys_seen: bool = False) -> "Access":
        """Make a gate that lets nobody pass until it is opened. `keys_seen`: see Gate."""
        keys = ApiKeys(worlds.live.store)
        near = is_loopback(settings.listen)
        demanded = not (near or settings.insecure_no_auth)
        gate = Gate(worlds, never_demand=settings.insecure_no_auth, open_without_keys=near, keys_seen=keys_seen)
        return cls(keys, gate, Keyring(keys, gate), makes_first_key=demanded and not is_worker)

    async def open(self) -> None:
        """Read the keys; where there are none and there has to be one, make the first one and print it.

        Raises:
            StoreError: the store is away.
        """
        if self.makes_first_key:
            await make_first_key(self.keys)
        await self.keyring.refresh()

    @property
    def words(self) -> str:
        """How calls are let in, for people."""
        if not self.gate.is_open:
            return "by API key"
        return "open to all" if self.gate.is_open_for_good else "open on this machine until there is an API key"


def is_loopback(listen: str) -> bool:
    """Whether only this machine can reach an address. Of names only `localhost` is known to be so."""
    if listen.startswith("unix:"):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
