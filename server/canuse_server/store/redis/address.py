"""The address of the store, and the handshake with it.

redis://host:port/0                                     one server; rediss:// with TLS, unix:///path for a socket
redis+sentinel://host:port,host:port/master-name/0      Sentinels, which report the master
redis+cluster://host:port,host:port                     some nodes of a Cluster, which report the others
"""

import re
import ssl
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode

from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.redis.replies import check, pack

_SEVERAL: Final = re.compile(r"(rediss?)\+(sentinel|cluster)://(?:([^@/?]*)@)?([^@/?]+)(?:/([^?]*))?(?:\?(.*))?")
_ADDRESS: Final = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(?::(\d+))?")
_DEFAULT_PORTS: Final = {"sentinel": 26379, "cluster": 6379}
_HIGHEST_PORT: Final = 65_535


class Address(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return `host:port`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The addresses of the Sentinels, their name of the master, and redis-py options for connections to them."""

    addresses: tuple[Address, ...]
    master: str
    options: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A Redis or Valkey server, or the Sentinels or some nodes of a Cluster (`seeds`) that report the servers.

    `path` is a Unix socket; else `host` and `port` are used.
    """

    url: str = field(repr=False)
    """The URL as configured. It can contain a password."""
    host: str = "127.0.0.1"
    port: int = 6379
    path: str | None = None
    tls: ssl.SSLContext | None = None
    handshake: bytes = field(default=b"", repr=False)
    """The packed commands that authenticate a connection and select its database."""
    handshake_replies: int = 0
    sentinels: Sentinels | None = None
    seeds: tuple[Address, ...] = ()
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    """redis-py options for a connection, without the address."""

    @classmethod
    def from_url(cls, url: str) -> "StoreAddress":
        """Read a URL; the URL of one server as redis-py does.

        Raises:
            ValueError: the URL is invalid.
        """
        several = _SEVERAL.fullmatch(url)
        if several is None:
            return cls._plain(url, url)
        scheme, kind, user, hosts, path, query = several.groups(default="")
        addresses = tuple(_address(text, _DEFAULT_PORTS[kind]) for text in hosts.split(","))
        given = dict(parse_qsl(query, keep_blank_values=True))
        own = {name: given.pop(name) for name in ("sentinel_username", "sentinel_password") if name in given}
        master, _, database = path.partition("/") if kind == "sentinel" else ("", "", path)
        if kind == "sentinel" and not master:
            raise ValueError("must name the master after the addresses of the Sentinels: …:26379/mymaster")
        if database and (kind == "cluster" or not database.isdecimal()):
            raise ValueError("must have the number of a database, or nothing, at its end; a Cluster has none")
        plain = f"{scheme}://{user}{'@' if user else ''}{_in_url(addresses[0])}/{database or 0}?{urlencode(given)}"
        endpoint = cls._plain(url, plain)
        if kind == "cluster":
            return replace(endpoint, seeds=addresses)
        sentinel_options = {name: value for name, value in endpoint.options.items() if name.startswith("ssl_")}
        sentinel_options |= {name.removeprefix("sentinel_"): value for name, value in own.items()}
        # The former master may be a replica now, on which a check would read old counts.
        handshake = endpoint.handshake + pack(("ROLE",))
        return replace(
            endpoint,
            handshake=handshake,
            handshake_replies=endpoint.handshake_replies + 1,
            sentinels=Sentinels(addresses, unquote(master), {**sentinel_options, "ssl": endpoint.tls is not None}),
        )

    @classmethod
    def _plain(cls, url: str, plain: str) -> "StoreAddress":
        options: dict[str, Any] = dict(parse_url(plain))
        commands: list[tuple[str, ...]] = []
        if password := options.get("password"):
            commands.append(("AUTH", options.get("username") or "default", password))
        if database := options.get("db"):
            commands.append(("SELECT", str(database)))
        where = {"host", "port", "path", "connection_class"}
        return cls(
            url=url,
            host=options.get("host", "localhost"),
            port=int(options.get("port", 6379)),
            path=options.get("path"),
            tls=_tls(options) if plain.startswith("rediss:") else None,
            handshake=b"".join(pack(command) for command in commands),
            handshake_replies=len(commands),
            options={name: value for name, value in options.items() if name not in where},
        )

    @property
    def address(self) -> str:
        """The address for people, without secrets."""
        if self.sentinels is not None:
            return f"{self.sentinels.master} by the Sentinels {', '.join(map(str, self.sentinels.addresses))}"
        if self.seeds:
            return f"the Cluster of {', '.join(map(str, self.seeds))}"
        return f"unix://{self.path}" if self.path else str(Address(self.host, self.port))

    @property
    def is_one_server(self) -> bool:
        """Whether this is a single server without failover."""
        return self.sentinels is None and not self.seeds

    def at(self, address: Address) -> "StoreAddress":
        """Return the address of one server with the same options."""
        return replace(self, host=address.host, port=address.port, path=None, sentinels=None, seeds=())

    def check_handshake(self, replies: list[object]) -> None:
        """Check the replies to the handshake; raise StoreError for an error, or if the server is not the master."""
        for reply in replies:
            checked = check(reply)
            if isinstance(checked, list) and checked[0] != b"master":
                raise StoreUnavailableError(f"the server is not a master but a {checked[0].decode()}")

    def admin(self, timeout_seconds: float) -> "Redis":
        """Return a redis-py client for administration; for a node of a Cluster, of the address that `at` returns.

        It does not retry commands.
        """
        options = _administrative(self.options, timeout_seconds)
        if self.sentinels is not None:
            sentinel_options = {**self.sentinels.options, **_administrative({}, timeout_seconds)}
            sentinel_class: Any = Sentinel
            sentinel = sentinel_class(list(self.sentinels.addresses), sentinel_kwargs=sentinel_options, **options)
            client: Redis = sentinel.master_for(self.sentinels.master, ssl=self.tls is not None)
            return client
        if self.path is not None:
            return Redis(unix_socket_path=self.path, **options)
        return Redis(host=self.host, port=self.port, ssl=self.tls is not None, **options)


def _administrative(options: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
    times = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    return {**options, **times, "retry": Retry(NoBackoff(), 0)}


def _tls(options: dict[str, Any]) -> ssl.SSLContext:
    """Return the context that redis-py makes of the same options, so that all connections are alike."""
    connection = SSLConnection(**{name: value for name, value in options.items() if name.startswith("ssl_")})
    return connection.ssl_context.get()


def _address(text: str, default_port: int) -> Address:
    found = _ADDRESS.fullmatch(text)
    port = int(found[2] or default_port) if found else 0
    if found is None or not 0 < port <= _HIGHEST_PORT:
        raise ValueError("must name hosts and ports, host:port,host:port, before the first slash")
    return Address(found[1].strip("[]"), port)


def _in_url(address: Address) -> str:
    return str(Address(address.host if ":" in address.host else quote(address.host), address.port))
