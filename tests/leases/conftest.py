"""A server for the tests of leases: they use ids of their own."""

from collections.abc import Iterator

import pytest

from support.load import running
from support.message_clients import Client
from support.processes import Canuse


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server on an embedded Valkey and the system's clock."""
    with running(Canuse(tmp_path_factory.mktemp("leases"))) as server:
        yield server


@pytest.fixture
def plain(server: Canuse) -> Iterator[Client]:
    """A client without leases."""
    with Client(server.address, timeout_seconds=30) as client:
        yield client
