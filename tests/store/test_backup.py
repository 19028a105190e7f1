"""What a backup of a store contains: everything, of each user as at one moment."""

from pathlib import Path

import pytest

from canuse_server.domain.api_keys import ENVIRONMENTS
from canuse_server.store.backup.file import FORMAT, BackupWriter
from canuse_server.store.backup.layout import USER_KINDS, Layout, bucket_prefix
from canuse_server.store.backup.reading import StoreReader
from canuse_server.store.backup.restoring import Restorer, RestoreRefusedError
from canuse_server.store.codec.backup_pb2 import BackupHeader, BackupKey
from canuse_server.store.codec.ledger_pb2 import LedgerEntry
from canuse_server.store.errors import SchemaError
from canuse_server.store.keys import SCHEMA, TRIM_PROGRESS, TRIM_TURN, Keys, bucket_of
from canuse_server.store.preflight import schema
from canuse_server.store.preflight.schema import RESTORING, VERSION, check_schema
from canuse_server.store.redis.client import Store
from support.database import KEYS, Database
from support.resources import unique
from support.store_inspection import user_in_same_bucket

FAR_MS = 4_000_000_000_000
"""A time in the year 2096."""


def written(path: Path, keys: list[BackupKey], reader: StoreReader) -> Path:
    """Write keys as a backup."""
    writer = BackupWriter(path, BackupHeader(format=FORMAT, schema=VERSION, canuse_version="0", created_at_ms=1))
    for key in keys:
        writer.add(key)
    writer.finish(reader.users, reader.events)
    return path


def event(user_id: str) -> dict[str | bytes, bytes]:
    """Return the fields of an entry of the ledger."""
    return {"e": LedgerEntry(user_id=user_id, feature_id="calls").SerializeToString()}


def put_user(database: Database, user_id: str) -> None:
    """Create a user as a server does."""
    database.put_user(user_id=user_id)
    database.redis.sadd(KEYS.users(bucket_of(user_id)), user_id)


async def put_everything(database: Database, store: Store) -> None:
    """Fill the store with keys of all types, of kinds that this version has and of others."""
    await check_schema(store)
    redis, bucket = database.redis, bucket_of("124")
    put_user(database, "124")
    redis.set(KEYS.profile("124"), "{}")
    redis.hset(KEYS.events("124")[2], mapping={f"id{number}": b"\x00\xff" * 10 for number in range(2500)})
    redis.pexpireat(KEYS.events("124")[2], FAR_MS)
    redis.zadd(KEYS.leases_due("124"), {"a": 1.5, "b": 281474976710655, "c": 0.1})
    prefix = bucket_prefix("live", bucket)
    redis.rpush(prefix + b"z:124", *(f"{number}" for number in range(2500)))
    redis.xadd(prefix + b"audit", {"a": "1", "b": "2"}, id="5-3")
    redis.xadd(prefix + b"audit", {"a": "3"}, id="7-0")
    redis.xadd(prefix + b"empty", {"a": "1"}, id="9-1")
    redis.xdel(prefix + b"empty", "9-1")
    for number in range(2500):
        redis.xadd(KEYS.ledger(bucket), event("124"), id=f"{number + 1}-1")  # type: ignore[arg-type]
    redis.xadd(KEYS.ledger(bucket), event("somebody else"), id="5000-1")  # type: ignore[arg-type]
    redis.hset(KEYS.features, "calls", "{}")
    redis.xadd(KEYS.catalog_changes, {"feature": "calls"}, id="1-77")
    redis.set("canuse:test:{new}:thing", "new")
    redis.set("canuse:clock", "12345")
    redis.set("another:key", "of somebody else")


def expiries(database: Database) -> dict[bytes, int]:
    """Return when each key expires."""
    return {key: database.call("PEXPIRETIME", key) for key in database.contents()}


def streams(database: Database) -> dict[bytes, tuple[object, object]]:
    """Return the entries and the last ids of all streams."""
    return {
        key: (database.redis.xrange(key), database.redis.xinfo_stream(key)["last-generated-id"])
        for key in database.contents()
        if database.redis.type(key) == b"stream"
    }


async def test_a_restored_store_has_everything_that_the_store_had(
    database: Database, store: Store, tmp_path: Path
) -> None:
    await put_everything(database, store)
    redis, ledger = database.redis, KEYS.ledger(bucket_of("124"))
    reader = StoreReader(store)
    assert await reader.schema() == VERSION
    backup = written(tmp_path / "b", [key async for key in reader.contents()], reader)
    assert (reader.users, reader.events, reader.share) == (1, 2500, 1.0)
    redis.xdel(ledger, "5000-1")  # An event of somebody who does not exist.
    redis.set("canuse:written", "")
    redis.delete("canuse:written")
    before, times, entries = database.contents(), expiries(database), streams(database)
    for key in before:
        if key.startswith(b"canuse:"):
            redis.delete(key)
    await Restorer(store, backup, VERSION).restore(replace=False)
    after = database.contents()
    assert after.keys() == before.keys()
    # An empty stream that has had an entry, and a list of another form, are other bytes.
    assert {key for key in after if after[key] != before[key]} <= {
        *entries,
        b"canuse:live:{%b}:z:124" % ledger[13:18].encode(),
    }
    assert streams(database) == entries
    assert expiries(database) == times
    assert redis.xadd(ledger, {"e": ""}, id="5000-*") == b"5000-2"


@pytest.mark.extended
async def test_the_events_of_a_user_go_as_far_as_what_was_read_of_the_user(database: Database, store: Store) -> None:
    await check_schema(store)
    first, bucket = "124", bucket_of("124")
    second = user_in_same_bucket(first)
    for user_id in (first, second):
        put_user(database, user_id)
    database.redis.xadd(KEYS.ledger(bucket), event(first), id="1-1")  # type: ignore[arg-type]
    keys: list[BackupKey] = []
    async for key in StoreReader(store).contents():
        if not keys:
            # The users have been read by now, and the ledger has not.
            database.redis.xadd(KEYS.ledger(bucket), event(second), id="2-1")  # type: ignore[arg-type]
            created = user_in_same_bucket(second)
            put_user(database, created)
            database.redis.xadd(KEYS.ledger(bucket), event(created), id="3-1")  # type: ignore[arg-type]
        keys.append(key)
    assert [entry.id for key in keys for entry in key.stream.entries] == [b"1-1"]
    (users,) = [key for key in keys if key.key == KEYS.users(bucket).encode()]
    assert set(users.set_members.items) == {first.encode(), second.encode()}


@pytest.mark.extended
async def test_a_user_who_is_deleted_meanwhile_is_not_restored(
    database: Database, store: Store, tmp_path: Path
) -> None:
    await check_schema(store)
    first, bucket = "124", bucket_of("124")
    second = user_in_same_bucket(first)
    for user_id in (first, second):
        put_user(database, user_id)
    keys: list[BackupKey] = []
    reader = StoreReader(store)
    async for key in reader.contents():
        if not keys:
            database.redis.delete(KEYS.user(first))
            database.redis.srem(KEYS.users(bucket), first)
        keys.append(key)
    assert reader.users == 1
    backup = written(tmp_path / "b", keys, reader)
    database.empty()
    await Restorer(store, backup, VERSION).restore(replace=False)
    assert database.redis.smembers(KEYS.users(bucket)) == {second.encode()}
    assert not database.redis.exists(KEYS.user(first))


@pytest.mark.extended
async def test_a_store_with_data_is_not_touched_without_being_told(
    database: Database, store: Store, tmp_path: Path
) -> None:
    await put_everything(database, store)
    reader = StoreReader(store)
    backup = written(tmp_path / "b", [key async for key in reader.contents()], reader)
    database.empty()
    database.redis.set("canuse:live:{catalog}:version", "1-1")
    before = database.contents()
    with pytest.raises(RestoreRefusedError, match="--replace"):
        await Restorer(store, backup, VERSION).restore(replace=False)
    assert database.contents() == before


@pytest.mark.extended
async def test_an_unfinished_restore_leaves_a_store_that_no_server_uses(database: Database, store: Store) -> None:
    database.redis.set(SCHEMA, RESTORING)
    with pytest.raises(SchemaError, match="canuse restore --replace"):
        await check_schema(store)
    with pytest.raises(SchemaError, match="canuse restore --replace"):
        await StoreReader(store).schema()
    await schema.check_data(store)
    assert "canuse restore --replace" in store.guard.problem
    store.guard.note("")


@pytest.mark.extended
async def test_there_is_nothing_to_back_up_in_an_empty_store(database: Database, store: Store) -> None:
    with pytest.raises(SchemaError, match="has no data of canuse"):
        await StoreReader(store).schema()


def test_every_key_of_a_user_is_read_with_the_user() -> None:
    layout, user_id = Layout(), unique("user")
    for environment in ENVIRONMENTS:
        keys = Keys(environment)
        own = [
            *(keys.user(user_id), keys.profile(user_id), keys.grants(user_id), keys.ended(user_id)),
            *(keys.history(user_id), keys.leases(user_id), keys.leases_due(user_id), *keys.events(user_id)),
        ]
        prefix = bucket_prefix(environment, bucket_of(user_id)).decode()
        assert {key.removeprefix(prefix).partition(":")[0].encode() for key in own} == set(USER_KINDS)
        layout.note(key.encode() for key in own)
        bucket = bucket_of(user_id)
        shared = [keys.users(bucket), keys.ledger(bucket), keys.has_indexes(bucket), keys.index("email", bucket, 11)]
        layout.note(key.encode() for key in [*shared, keys.chain(user_id, "mark"), keys.users_indexed])
    layout.note([b"canuse:schema", b"canuse:{b0001}:schema", b"canuse:written", b"canuse:{b0001}:written"])
    layout.note(key.encode() for key in (TRIM_TURN, TRIM_PROGRESS))
    known = Layout()
    assert (layout.kinds, layout.names, layout.groups) == (list(USER_KINDS), {b"ledger", b"audit"}, known.groups)
    layout.note([b"canuse:live:{b%04d}:n:%b" % (bucket_of(user_id), user_id.encode()), b"canuse:live:{b0001}:another"])
    assert (layout.kinds[-1], layout.names) == (b"n", {b"ledger", b"audit", b"another"})
