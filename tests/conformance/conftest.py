"""Fixtures of the conformance tests: the API without the client library, and the store behind a server."""

from collections.abc import Iterator

import pytest

from support.processes import Canuse
from support.store_inspection import StoreInspector
from support.stores import store_of
from support.wire import Stubs, stubs_of


@pytest.fixture(scope="session")
def stubs(server: Canuse) -> Iterator[Stubs]:
    """Raw stubs of the server on the system clock."""
    stubs = stubs_of(server)
    yield stubs
    stubs.channel.close()


@pytest.fixture(scope="session")
def clocked_stubs(clocked_server: Canuse) -> Iterator[Stubs]:
    """Raw stubs of the server on the manual clock."""
    stubs = stubs_of(clocked_server)
    yield stubs
    stubs.channel.close()


@pytest.fixture(scope="session")
def store(server: Canuse) -> Iterator[StoreInspector]:
    """The store of the server on the system clock, for inspection."""
    redis = store_of(server)
    yield StoreInspector(redis)
    redis.close()


@pytest.fixture(scope="session")
def clocked_store(clocked_server: Canuse) -> Iterator[StoreInspector]:
    """The store of the server on the manual clock, for inspection."""
    redis = store_of(clocked_server)
    yield StoreInspector(redis)
    redis.close()
