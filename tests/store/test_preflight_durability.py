"""The start reports what can lose counts in a store, and refuses a promise that the store can't keep."""

import time
from pathlib import Path
from shutil import rmtree

import pytest
from redis import Redis

from canuse_server.domain.durability import Durability
from canuse_server.store.preflight.durability import refusal_of, risks_of
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.durability import Promise
from support import fork_server
from support.load import running
from support.processes import Canuse, RedisServer
from support.tools import VALKEY_SERVER

SOUND = {"redis_version": "7.2.4", "maxmemory_policy": "noeviction", "aof_enabled": "1", "connected_slaves": "0"}
FSYNC = Promise(Durability.FSYNC)
TWO_REPLICAS = Promise(Durability.REPLICA, replicas=2)


def warnings(appendfsync: str | None = "always", promise: Promise | None = None, **info: str) -> str:
    """Return the warnings about a store that is safe except for the given facts."""
    return "; ".join(risks_of(SOUND | info, appendfsync, promise or Promise()))


def test_a_store_that_keeps_what_it_has_is_not_reported() -> None:
    assert not warnings()
    assert not warnings("everysec")
    assert not warnings(None)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_store_that_evicts_keys_is_reported_with_its_policy(policy: str) -> None:
    assert f"maxmemory-policy is {policy}" in warnings(maxmemory_policy=policy)


def test_a_store_without_an_append_only_file_is_reported() -> None:
    assert "no append-only file" in warnings(aof_enabled="0")
    assert "appendfsync is no" in warnings("no")


def test_replicas_that_a_promise_lacks_are_reported() -> None:
    assert "replica with 2 replicas, but the store has 1" in warnings(promise=TWO_REPLICAS, connected_slaves="1")
    assert not warnings(promise=TWO_REPLICAS, connected_slaves="2")


def refused(appendfsync: str | None = "always", promise: Promise = FSYNC, **info: str) -> str:
    """Return why a promise is refused on a store that is safe except for the given facts."""
    return refusal_of(SOUND | info, appendfsync, promise) or ""


def test_fsync_is_refused_where_there_is_no_file_or_no_way_to_wait_for_it() -> None:
    assert not refused()
    assert not refused(None)
    assert "no append-only file" in refused(aof_enabled="0")
    assert "redis 7.0.15" in refused(redis_version="7.0.15")
    assert not refused(redis_version="7.0.0", valkey_version="8.0.0")
    assert not refused(promise=TWO_REPLICAS, aof_enabled="0", redis_version="7.0.15")


@pytest.mark.parametrize("appendfsync", ["everysec", "no"])
def test_fsync_is_refused_where_the_store_does_not_wait_for_its_disk(appendfsync: str) -> None:
    """WAITAOF was answered at once, and a power cut took what canuse had acknowledged as on the disk."""
    assert f"appendfsync is {appendfsync}" in refused(appendfsync)


async def test_the_stores_that_are_tested_with_are_sound(store: Store) -> None:
    assert list(risks_of((await store.infos())[0], None, Promise())) == []


@pytest.mark.extended
def test_a_server_says_at_its_start_what_can_lose_counts(tmp_path: Path) -> None:
    risky = ("--maxmemory-policy", "allkeys-lfu", "--appendonly", "no")
    valkey = RedisServer(VALKEY_SERVER, tmp_path / "valkey", risky).start()
    try:
        options = ("--redis-url", valkey.url, "--workers", "2")
        with running(Canuse(tmp_path, *options)) as canuse:
            assert canuse.log.count("maxmemory-policy is allkeys-lfu") == 1
            assert canuse.log.count("has no append-only file") == 1
        # Managed stores refuse CONFIG.
        valkey.command("ACL", "SETUSER", "default", "-config")
        with running(Canuse(tmp_path, *options)) as canuse:
            assert canuse.log.count("has no append-only file") == 2
    finally:
        valkey.stop()


@pytest.mark.parametrize(
    ("setting", "message"),
    [(("--appendonly", "no"), "has no append-only file"), (("--appendfsync", "everysec"), "appendfsync is everysec")],
)
def test_a_server_does_not_start_with_a_promise_that_the_store_can_not_keep(
    setting: tuple[str, str], message: str, tmp_path: Path
) -> None:
    valkey = RedisServer(VALKEY_SERVER, tmp_path / "valkey", setting).start()
    try:
        options = ("--redis-url", valkey.url, "--listen", "127.0.0.1:0", "--durability", "fsync")
        completed = fork_server.run("serve", *options, folder=tmp_path)
    finally:
        valkey.stop()
    assert (completed.returncode, completed.stdout) == (1, "")
    assert "canuse: durability is fsync, but the store" in completed.stderr
    assert message in completed.stderr


def test_turning_the_append_only_file_on_in_the_running_store_keeps_its_data(tmp_path: Path) -> None:
    """As docs/storage.md says. After a restart with `appendonly yes` alone it was empty: it reads no snapshot then."""
    folder = tmp_path / "valkey"
    for steps, kept in (((), None), ((("CONFIG", "SET", "appendonly", "yes"),), b"1")):
        store = RedisServer(VALKEY_SERVER, folder, ("--appendonly", "no", "--save", "3600 1")).start()
        with Redis(port=store.port) as client:
            client.set("kept", "1")
            for step in steps:
                client.execute_command(*step)
            while client.info("persistence")["aof_rewrite_in_progress"]:
                time.sleep(0.01)
            assert client.info("persistence")["aof_last_bgrewrite_status"] == "ok"
        store.stop()
        store.settings = ("--save", "3600 1")
        store.start()
        with Redis(port=store.port) as client:
            assert client.get("kept") == kept
            client.flushall()
        store.stop()
        rmtree(folder)
