"""Real stores without a server: an embedded Valkey, and the system's Redis if it is installed."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from canuse_server.api.environment import Environment
from canuse_server.store.embedded.supervisor import EmbeddedValkey
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.usage_commands import Retention
from canuse_server.store.repositories.users.users import Users
from support.database import KEYS, Database
from support.processes import RedisServer
from support.tools import tool

STORES = ("valkey", pytest.param("redis", marks=pytest.mark.extended))


@pytest_asyncio.fixture(scope="session", params=STORES)
async def store_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a store that all tests share."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "redis":
        server = RedisServer(tool("redis-server"), folder).start()
        yield server.url
        server.stop()
    else:
        valkey = EmbeddedValkey(folder)
        await valkey.start()
        yield f"unix://{valkey.socket_path}"
        await valkey.stop()


@pytest.fixture(scope="session")
def shared_database(store_url: str) -> Iterator[Database]:
    """The store, for tests that clean up after themselves."""
    database = Database(store_url)
    yield database
    database.close()


@pytest.fixture
def database(shared_database: Database) -> Database:
    """The store, emptied."""
    shared_database.empty()
    return shared_database


@pytest_asyncio.fixture(scope="session")
async def shared_store(shared_database: Database) -> AsyncIterator[Store]:
    """The store as the service calls it, for tests that clean up after themselves."""
    store = Store(StoreAddress.from_url(shared_database.url), 5.0)
    await store.load_scripts()
    yield store
    await store.close()


@pytest.fixture
def store(database: Database, shared_store: Store) -> Store:
    """The store as the service calls it, emptied, on its own clock."""
    shared_store.manual_now_ms = None
    return shared_store


@pytest.fixture
def users(store: Store) -> Users:
    """The users repository of the store."""
    return Users(store, KEYS, Retention(3_600_000, 3_600_000_000, 62))


@pytest.fixture
def env(store: Store) -> Environment:
    """An environment of the store."""
    return Environment.of(store, "live", Retention(3_600_000, 3_600_000_000, 62), default_package="")
