"""`canuse doctor` says what is wrong with a store or a server, and what to do about it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from canuse_server.store.keys import SCHEMA, TRIM_PROGRESS
from canuse_server.store.trimming.progress import Progress
from support.acl_redis import AclRedis
from support.authenticated_server import authenticated_server
from support.command_line import CommandLine, Outcome
from support.database import HOUR_MS, Database
from support.load import running
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.resources import subscriber
from support.tools import VALKEY_SERVER
from support.topologies import Cluster, wait_for

pytestmark = pytest.mark.extended
run = CommandLine("")
RECOMMENDED = ("--hash-max-listpack-entries", "128", "--set-max-listpack-entries", "2048")


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[RedisServer]:
    """A Valkey of its own, with the recommended settings."""
    server = RedisServer(VALKEY_SERVER, tmp_path / "valkey", RECOMMENDED)
    server.start()
    yield server
    server.stop()


def findings(outcome: Outcome) -> dict[str, tuple[str, str]]:
    """Return status and text of each check."""
    assert outcome.stderr == ""
    found: list[dict[str, Any]] = outcome.json()
    return {each["check"]: (each["status"], each["text"]) for each in found}


def doctor(*arguments: str, **environment: str) -> dict[str, tuple[str, str]]:
    """Return what the command finds."""
    return findings(run("doctor", "--json", *arguments, **environment))


def test_a_sound_store_has_no_problem_and_is_left_as_it_is(valkey: RedisServer, tmp_path: Path) -> None:
    with running(Canuse(tmp_path, "--redis-url", valkey.url)) as canuse, Client(canuse.address) as client:
        client.use_feature(*subscriber(client, 3))
    database = Database(valkey.url)
    before = database.contents()
    outcome = run("doctor", "--redis-url", valkey.url)
    assert database.contents() == before
    database.close()
    assert (outcome.status, outcome.stderr) == (0, ""), outcome.stdout
    lines = [line.split() for line in outcome.stdout.splitlines()]
    # A busy machine answers late.
    assert {line[1] for line in lines if line[0] != "ok"} <= {"connection", "clock"}, outcome.stdout
    found = doctor("--redis-url", valkey.url)
    checks = ("connection", "version", "schema", "rights", "scripts", "persistence", "eviction", "replicas", "clock")
    assert (*found,) == (*checks, "clients", "compact forms", "trimming", "memory")
    assert "1 users and 1 events in the ledger" in found["memory"][1]


def test_what_can_lose_counts_is_a_warning_and_what_keeps_servers_from_starting_a_problem(tmp_path: Path) -> None:
    """The rules are those of a server's start."""
    risky = ("--maxmemory-policy", "allkeys-lfu", "--appendonly", "no")
    valkey = RedisServer(VALKEY_SERVER, tmp_path / "valkey", risky)
    valkey.start()
    try:
        with Redis.from_url(valkey.url) as redis:
            redis.set("canuse:clock", "5")
            redis.set(SCHEMA, "99")
        outcome = run("doctor", "--json", "--redis-url", valkey.url, CANUSE_DURABILITY="fsync")
        assert outcome.status == 1
        found = findings(outcome)
        assert found["schema"][0] == "problem"
        assert "schema '99'" in found["schema"][1]
        assert found["persistence"][0] == "problem"
        assert "durability is fsync, but the store has no append-only file" in found["persistence"][1]
        assert found["eviction"] == ("warn", found["eviction"][1])
        assert "maxmemory-policy is allkeys-lfu" in found["eviction"][1]
        assert found["clock"][0] == "warn"
        assert "hash-max-listpack-entries 128 instead of" in found["compact forms"][1]
        with Redis.from_url(valkey.url) as redis:
            redis.flushall()
        on = ("--redis-url", valkey.url)
        assert doctor(*on)["persistence"][0] == "warn"
        assert [run("doctor", *on, *strict).status for strict in ((), ("--strict",))] == [0, 1]
        replicas = doctor(*on, CANUSE_DURABILITY="replica")["replicas"]
        assert replicas[0] == "problem"
        assert "with 1 replicas, but the store has 0" in replicas[1]
    finally:
        valkey.stop()


def test_it_tells_how_long_ago_a_trimming_pass_ended(valkey: RedisServer) -> None:
    on = ("--redis-url", valkey.url)
    assert doctor(*on)["trimming"] == ("ok", "no pass has ended yet")
    with Redis.from_url(valkey.url) as redis:
        for hours, status in ((1, "ok"), (24, "ok"), (26, "warn")):
            ended_ms = round(time.time() * 1000) - hours * HOUR_MS
            redis.set(TRIM_PROGRESS, Progress(ended_ms=ended_ms, lasted_ms=7000).packed())
            found = doctor(*on)["trimming"]
            assert found[0] == status
            assert f"the last pass ended {hours}.0 hours ago and took 7 s" in found[1]
    assert doctor(*on, CANUSE_TRIM_INTERVAL_SECONDS="0")["trimming"][1].startswith("off: trim_interval_seconds is 0")


def test_rights_that_are_missing_are_named(tmp_path: Path) -> None:
    store = AclRedis(tmp_path / "acl")
    store.start()
    try:
        found = doctor("--redis-url", store.acl_url)
        assert found["version"][1].startswith("Redis 7")
        assert found["rights"] == ("ok", "all commands that a server needs are allowed")
        assert {status for status, _ in found.values()} <= {"ok", "warn"}
        with Redis.from_url(store.url) as redis:
            redis.execute_command("ACL", "SETUSER", "canuse", "-scard", "-xlen", "-config|get")
            fewer = doctor("--redis-url", store.acl_url)
            assert fewer["rights"][0] == "warn"
            assert "no right to run SCARD, XLEN, CONFIG: the metrics canuse_users" in fewer["rights"][1]
            assert fewer["compact forms"][0] == "ok"
            assert "can't be checked" in fewer["memory"][1]
            redis.execute_command("ACL", "SETUSER", "canuse", "-del", "-hsetnx", "-script|load")
        fewer = doctor("--redis-url", store.acl_url)
        assert fewer["rights"][0] == "problem"
        assert "no right to run DEL, HSETNX: see the command ACL SETUSER" in fewer["rights"][1]
        assert fewer["scripts"][0] == "problem"
        assert run("doctor", "--redis-url", store.acl_url).status == 1
        wrong = run("doctor", "--redis-url", store.acl_url.replace("a-password", "another"))
        assert wrong.status == 2
        assert wrong.stdout.startswith("problem  connection ")
    finally:
        store.stop()


def test_a_replica_is_not_taken_for_the_store(valkey: RedisServer, tmp_path: Path) -> None:
    replica = RedisServer(VALKEY_SERVER, tmp_path / "replica", ("--replicaof", f"127.0.0.1 {valkey.port}"))
    replica.start()
    try:
        wait_for(lambda: doctor("--redis-url", valkey.url)["replicas"] == ("ok", "1"), "the replica is not seen")
        found = doctor("--redis-url", replica.url)
        assert found["replicas"] == (
            "problem",
            "this is a replica: name the master, or the Sentinels that know it",
        )
    finally:
        replica.stop()


def test_all_nodes_of_a_cluster_are_checked(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "cluster").start()
    try:
        with running(Canuse(tmp_path, "--redis-url", cluster.url)):
            found = doctor("--redis-url", cluster.url)
            assert found["version"][1].endswith(" on 3 nodes")
            assert found["schema"] == ("ok", "version 5")
            assert found["rights"][0] == found["scripts"][0] == "ok"
            assert "a master has no replica" in found["replicas"][1]
            with Redis(port=cluster.masters[1].port) as redis:
                redis.config_set("maxmemory-policy", "allkeys-random")
                assert found["eviction"][0] == "ok"
                assert doctor("--redis-url", cluster.url)["eviction"][0] == "warn"
                redis.flushall()
            assert doctor("--redis-url", cluster.url)["schema"][0] == "problem"
    finally:
        cluster.stop()


def test_a_store_that_does_not_answer_is_status_2() -> None:
    outcome = run("doctor", "--redis-url", "redis://127.0.0.1:1", "--json")
    assert outcome.status == 2
    assert [*findings(outcome)] == ["connection"]


def test_a_server_is_checked_from_outside(tmp_path: Path) -> None:
    server = Canuse(tmp_path, env={"CANUSE_OPS_LISTEN": "127.0.0.1:0"})
    with authenticated_server(server) as authenticated:
        address = ("--server", authenticated.canuse.address)
        found = doctor(*address)
        assert [*found] == ["server", "access", "encryption"]
        assert found["access"] == ("ok", "it requires an API key; none was sent")
        assert doctor(*address, CANUSE_API_KEY=authenticated.admin)["access"] == ("ok", "the API key is accepted")
        limited = authenticated.key(["usage:write"]).secret
        assert "may not read the catalogue" in doctor(*address, "--api-key", limited)["access"][1]
        wrong = run("doctor", *address, "--api-key", "sk_live_x")
        assert wrong.status == 1
        assert "problem  access          the API key is not accepted" in wrong.stdout
        ops = doctor("--ops", authenticated.canuse.ops_url)
        assert [*ops] == ["ready", "server version", "store", "catalogue"]
        url = authenticated.canuse.ops_url
        wait_for(lambda: {status for status, _ in doctor("--ops", url).values()} == {"ok"}, "the server is not well")
    for arguments in (address, ("--ops", authenticated.canuse.ops_url)):
        outcome = run("doctor", *arguments)
        assert (outcome.status, outcome.stdout.split()[0]) == (2, "problem")
