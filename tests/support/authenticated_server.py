"""A server that demands API keys, and clients with keys to it."""

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

SCOPES: Final = ("entitlements:read", "usage:write", "catalog:read", "users:write", "catalog:write", "keys:admin")
PUBLISHABLE_KEYS: Final = {"CANUSE_PUBLISHABLE_KEYS": "true"}
"""Allows publishable keys."""
LIVE: Final = v1.ENVIRONMENT_LIVE
TEST: Final = v1.ENVIRONMENT_TEST


@dataclass(frozen=True)
class AuthenticatedServer:
    """A server with keys; `admin` is the secret of a key with all scopes in the live environment."""

    canuse: Canuse
    admin: str

    def publishable_key(self, environment: v1.Environment.ValueType = LIVE) -> str:
        """Create a publishable key; return its secret. The server has to allow it."""
        return self.key((), environment, type=v1.API_KEY_TYPE_PUBLISHABLE).secret

    def client(self, secret: str | None = None) -> Client:
        """Return a client with a key: the admin's by default, none with an empty text."""
        return Client(self.canuse.address, api_key=self.admin if secret is None else secret)

    def key(
        self,
        scopes: Iterable[str] = SCOPES,
        environment: v1.Environment.ValueType = LIVE,
        expires_at: datetime | None = None,
        type: v1.ApiKeyType.ValueType = v1.API_KEY_TYPE_SECRET,  # noqa: A002 - as in the client
    ) -> NewApiKey:
        """Create a key. A worker other than the one that created the admin's key may not know that one yet."""
        deadline = time.monotonic() + MAX_WAIT_SECONDS
        while True:
            with self.client() as client:
                try:
                    return client.create_api_key(
                        unique("key"), scopes, environment=environment, expires_at=expires_at, type=type
                    )
                except Unauthenticated:
                    if time.monotonic() >= deadline:
                        raise


@contextmanager
def authenticated_server(canuse: Canuse) -> Iterator[AuthenticatedServer]:
    """Start a server and create its first key."""
    with running(canuse):
        with Client(canuse.address) as client:
            first = client.create_api_key("admin", SCOPES, environment=LIVE)
        yield AuthenticatedServer(canuse, first.secret)
