"""A server that demands API keys, and the keys to it."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from canuse import NewApiKey, Unauthenticated, v1
from support.load import MAX_WAIT_SECONDS, running
from support.message_clients import Client
from support.processes import Canuse
from support.resources import unique

SCOPES: Final = ("entitlements:read", "usage:write", "catalog:read", "catalog:write", "keys:admin")
LIVE: Final = v1.ENVIRONMENT_LIVE
TEST: Final = v1.ENVIRONMENT_TEST


@dataclass(frozen=True)
class AuthenticatedServer:
    """A server with keys; `admin` is the secret of one that may do everything in the live environment."""

    canuse: Canuse
    admin: str

    def client(self, secret: str | None = None) -> Client:
        """Return a client with a key: the admin's unless another is given, and with an empty text none."""
        return Client(self.canuse.address, api_key=self.admin if secret is None else secret)

    def key(
        self,
        scopes: Iterable[str] = SCOPES,
        environment: v1.Environment.ValueType = LIVE,
        expires_at: datetime | None = None,
    ) -> NewApiKey:
        """Make a key. Another worker than the one that made the admin's may not have heard of that yet."""
        deadline = time.monotonic() + MAX_WAIT_SECONDS
        while True:
            with self.client() as client:
                try:
                    return client.create_api_key(unique("key"), scopes, environment=environment, expires_at=expires_at)
                except Unauthenticated:
                    if time.monotonic() >= deadline:
                        raise


@contextmanager
def authenticated_server(canuse: Canuse) -> Iterator[AuthenticatedServer]:
    """Start a server and make its first key."""
    with running(canuse):
        with Client(canuse.address) as client:
            first = client.create_api_key("admin", SCOPES, environment=LIVE)
        yield AuthenticatedServer(canuse, first.secret)
