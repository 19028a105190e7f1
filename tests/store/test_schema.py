"""A store is used only if canuse knows its layout."""

from pathlib import Path

import pytest

from canuse_server.store.codec.event_ids import KEY_BYTES
from canuse_server.store.errors import SchemaError, StoreUnavailableError
from canuse_server.store.keys import EVENT_KEY, SCHEMA
from canuse_server.store.preflight.schema import OLDER, VERSION, check_data, check_schema, check_version
from canuse_server.store.redis.client import Store
from support import fork_server
from support.database import Database


async def test_an_empty_store_gets_the_version_of_the_layout(store: Store, database: Database) -> None:
    await check_schema(store)
    assert database.redis.get(SCHEMA) == VERSION.encode()
    await check_schema(store)


@pytest.mark.parametrize("found", OLDER)
async def test_a_store_of_an_older_layout_that_is_read_gets_the_present_one(
    store: Store, database: Database, found: str
) -> None:
    database.redis.set(SCHEMA, found)
    with pytest.raises(StoreUnavailableError, match="must initialize it"):
        await check_schema(store, create=False)
    assert database.redis.get(SCHEMA) == found.encode()
    await check_schema(store)
    assert database.redis.get(SCHEMA) == VERSION.encode()


async def test_all_servers_of_a_store_have_the_same_key_for_event_ids(store: Store, database: Database) -> None:
    await check_schema(store)
    key = store.event_key.key
    assert len(key) == KEY_BYTES
    store.event_key.key = b""
    await check_schema(store, create=False)
    assert store.event_key.key == key == database.redis.get(EVENT_KEY)


async def test_data_that_comes_back_brings_its_own_key_for_event_ids(store: Store, database: Database) -> None:
    await check_schema(store)
    database.redis.delete(SCHEMA)
    await check_data(store)
    assert store.guard.problem
    database.redis.set(EVENT_KEY, b"the key of the data that was restored")
    database.redis.set(SCHEMA, VERSION)
    await check_data(store)
    assert (store.guard.problem, store.event_key.key) == ("", b"the key of the data that was restored")


async def test_a_worker_does_not_make_an_empty_store_ready(store: Store, database: Database) -> None:
    with pytest.raises(StoreUnavailableError, match="empty"):
        await check_schema(store, create=False)
    assert database.contents() == {}


@pytest.mark.parametrize("found", ["2", str(int(VERSION) + 1), "0", "", f"{VERSION}.0", "canuse"])
async def test_a_store_of_another_layout_is_refused_in_words_and_left_alone(
    store: Store, database: Database, found: str
) -> None:
    database.redis.set(SCHEMA, found)
    before = database.contents()
    with pytest.raises(SchemaError, match=f"schema '{found}'; this version of canuse supports only schema '{VERSION}'"):
        await check_schema(store)
    assert database.contents() == before


async def test_the_stores_that_are_tested_with_are_new_enough(store: Store) -> None:
    await check_version(store)


def test_a_server_does_not_start_on_a_store_of_another_layout(database: Database, tmp_path: Path) -> None:
    database.redis.set(SCHEMA, "1")
    before = database.contents()
    options = ("--listen", "127.0.0.1:0", "--redis-url", database.url, "--demo")
    completed = fork_server.run("serve", *options, folder=tmp_path)
    assert (completed.returncode, completed.stdout) == (1, "")
    assert (
        completed.stderr
        == f"canuse: the store has data of schema '1'; this version of canuse supports only schema '{VERSION}'\n"
    )
    assert database.contents() == before
