"""Where the store is, and how to greet it."""

import ssl
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from canuse_server.store.replies import pack


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One Redis or Valkey server. `path` is a Unix socket; else `host` and `port` are used."""

    url: str = field(repr=False)
    """The URL as it was given; it may hold a password."""
    host: str = "127.0.0.1"
    port: int = 6379
    path: str | None = None
    tls: ssl.SSLContext | None = None
    greeting: bytes = field(default=b"", repr=False)
    """The packed commands that authenticate a connection and select its database."""
    greeting_replies: int = 0

    @classmethod
    def from_url(cls, url: str) -> "Endpoint":
        """Read a URL as redis-py does: `redis://`, `rediss://` or `unix://`.

        Raises:
            ValueError: it is not such a URL.
        """
        options: dict[str, Any] = dict(parse_url(url))
        commands: list[tuple[str, ...]] = []
        if password := options.get("password"):
            commands.append(("AUTH", options.get("username") or "default", password))
        if database := options.get("db"):
            commands.append(("SELECT", str(database)))
        return cls(
            url=url,
            host=options.get("host", "localhost"),
            port=int(options.get("port", 6379)),
            path=options.get("path"),
            tls=ssl.create_default_context(cafile=options.get("ssl_ca_certs")) if url.startswith("rediss:") else None,
            greeting=b"".join(pack(command) for command in commands),
            greeting_replies=len(commands),
        )

    @property
    def address(self) -> str:
        """The address for people, without secrets."""
        return f"unix://{self.path}" if self.path else f"{self.host}:{self.port}"

    def admin(self, timeout_seconds: float) -> "Redis":
        """Return a redis-py client for administrative work. It never repeats a command by itself."""
        return Redis.from_url(
            self.url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
        )
