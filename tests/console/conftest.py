"""Visitors of the console of a server that demands keys."""

from collections.abc import Callable, Iterator

import pytest

from support.authenticated_server import AuthenticatedServer, authenticated_server
from support.console import Visitor
from support.message_clients import Client
from support.processes import Canuse

ENV = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0", "CANUSE_PUBLISHABLE_KEYS": "true"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server on the manual clock, with the example data."""
    options = ("--demo", "--clock", "manual")
    with authenticated_server(Canuse(tmp_path_factory.mktemp("console"), *options, env=ENV)) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: AuthenticatedServer) -> Iterator[Client]:
    """A client with all rights."""
    with server.client() as client:
        yield client


@pytest.fixture
def visitors(server: AuthenticatedServer) -> Iterator[Callable[[str], Visitor]]:
    """Returns visitors who have logged in with an API key; with an empty one, they have not."""
    made: list[Visitor] = []

    def visitor(secret: str) -> Visitor:
        made.append(Visitor(server.canuse.http_url))
        if secret:
            assert made[-1].log_in(secret).status_code == 303
        return made[-1]

    yield visitor
    for each in made:
        each.close()


@pytest.fixture
def visitor(server: AuthenticatedServer, visitors: Callable[[str], Visitor]) -> Visitor:
    """A visitor who may do everything."""
    return visitors(server.admin)


@pytest.fixture
def admin_key(client: Client) -> str:
    """The id of the key with which `visitor` has logged in."""
    return next(key.id for key in client.list_api_keys() if key.name == "admin")
