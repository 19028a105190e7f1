"""A server trims a store of any kind in the background, and is stopped by nothing that happens to the store."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest
from redis import Redis

from canuse import StoreUnavailable
from canuse_server.store.keys import bucket_of
from support.acl_redis import AclRedis
from support.load import MAX_WAIT_SECONDS, running, until
from support.message_clients import Client
from support.processes import Canuse
from support.resources import subscriber, unique
from support.store_inspection import KEYS
from support.stores import store_of, valkey_pid
from support.topologies import Cluster, SentinelTrio

BROKEN_OFF: Final = "trimming has broken off"
QUICK: Final = {
    "CANUSE_TRIM_INTERVAL_SECONDS": "0.1",
    "CANUSE_TRIM_SHARE": "1",
    "CANUSE_LEDGER_MAX_AGE_SECONDS": "1",
    "CANUSE_DEDUPE_TTL_SECONDS": "1",
    "CANUSE_OPS_LISTEN": "127.0.0.1:0",
}


@contextmanager
def server_on(store: str, folder: Path) -> Iterator[Canuse]:
    """Run a server that trims all the time, on a kind of store."""
    if store == "workers":
        with running(Canuse(folder, "--workers", "2", env=QUICK)) as canuse:
            yield canuse
        return
    with ExitStack() as stack:
        url = inspection_url = ""
        if store == "acl":
            acl_redis = AclRedis(folder / store).start()
            stack.callback(acl_redis.stop)
            url, inspection_url = acl_redis.acl_url, acl_redis.url
        else:
            topology = (SentinelTrio if store == "sentinel" else Cluster)(folder / store).start()
            stack.callback(topology.stop)
            url = topology.url
        canuse = stack.enter_context(running(Canuse(folder, "--redis-url", url, env=QUICK)))
        canuse.inspection_url = inspection_url
        yield canuse


def leave_something(canuse: Canuse, count: int = 20) -> list[str]:
    """Let users come who use and reserve something; return their ids."""
    with Client(canuse.address) as client:
        users = []
        for _ in range(count):
            user_id, feature_id = subscriber(client, 5)
            client.use_feature(user_id, feature_id)
            client.reserve(user_id, feature_id, 3, ttl=timedelta(seconds=1))
            users.append(user_id)
        return users


def is_trimmed(redis: Redis, users: list[str]) -> bool:
    """Whether nothing is left of what users did."""
    left = sum(redis.exists(KEYS.leases(user_id)) + redis.xlen(KEYS.ledger(bucket_of(user_id))) for user_id in users)
    return left == 0


def answers(canuse: Canuse) -> bool:
    """Whether a server reaches its store."""
    with Client(canuse.address) as client, suppress(StoreUnavailable):
        client.get_user(client.create_user(unique("user")).id)
        return True
    return False


def figures(canuse: Canuse) -> dict[str, float]:
    """Return the metrics by name and labels."""
    lines = httpx.get(f"{canuse.ops_url}/metrics").text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


@pytest.mark.parametrize("store", ["workers", "sentinel", "cluster", "acl"])
def test_what_users_leave_behind_is_trimmed_without_a_call(store: str, tmp_path: Path) -> None:
    with server_on(store, tmp_path) as canuse:
        users = leave_something(canuse)
        redis = store_of(canuse)
        until(lambda: is_trimmed(redis, users))
        redis.close()
        until(lambda: "canuse_trim_pass_seconds" in figures(canuse))
        shown = figures(canuse)
        assert shown['canuse_trimmed_total{data="leases"}'] >= len(users)
        # Uses in the same bucket may have removed some.
        assert 0 < shown['canuse_trimmed_total{data="events"}'] <= len(users)
        assert 0 <= shown["canuse_trim_age_seconds"] < MAX_WAIT_SECONDS
        assert "a trimming pass has ended" in canuse.log
        assert BROKEN_OFF not in canuse.log
        assert canuse.stop() == 0


def test_trimming_goes_on_after_its_store_was_away(tmp_path: Path) -> None:
    with running(Canuse(tmp_path, env=QUICK)) as canuse:
        leave_something(canuse, 1)
        os.kill(valkey_pid(canuse), signal.SIGKILL)
        until(lambda: answers(canuse))
        users = leave_something(canuse)
        redis = store_of(canuse)
        until(lambda: is_trimmed(redis, users))
        redis.close()


def test_a_missing_right_is_named_and_once_it_is_there_trimming_goes_on(tmp_path: Path) -> None:
    with server_on("acl", tmp_path) as canuse, Redis.from_url(canuse.inspection_url) as redis:
        redis.execute_command("ACL", "SETUSER", "canuse", "-scan")
        until(lambda: "can't run" in canuse.log or "no permissions to run the 'scan'" in canuse.log)
        assert BROKEN_OFF in canuse.log
        users = leave_something(canuse)
        redis.execute_command("ACL", "SETUSER", "canuse", "+scan")
        until(lambda: is_trimmed(redis, users))
