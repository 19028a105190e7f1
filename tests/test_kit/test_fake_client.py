"""`FakeClient` passes the tests of the clients: those of `tests/conformance/test_client.py`, without a server."""

from collections.abc import AsyncIterator, Iterator

import pytest

from canuse import AsyncClient, Client
from canuse.testing import FakeAsyncClient, FakeClient
from conformance.test_client import (  # noqa: F401 - pytest runs them here as well
    TestAsyncClient,
    TestCatalogue,
    TestEntitlements,
    TestErrors,
    TestSubscriptions,
    TestUsers,
)


@pytest.fixture
def client() -> Iterator[Client]:
    """A client without a server, in place of one of a server."""
    with FakeClient() as fake:
        yield fake


@pytest.fixture
async def async_client() -> AsyncIterator[AsyncClient]:
    """A client without a server from the event loop of the tests."""
    async with FakeAsyncClient() as fake:
        yield fake
