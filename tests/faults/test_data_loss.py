"""A store that comes back empty, or is emptied while a server runs, is an outage, not an environment without users."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis import Redis

from canuse import CanuseError, v1
from canuse_server.store.keys import API_KEYS, API_KEYS_VERSION, SCHEMA
from canuse_server.store.preflight.schema import VERSION
from canuse_server.store.redis.slots import slot_of
from support.authenticated_server import authenticated_server
from support.load import OWN_CONNECTION, running, wait_until
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.resources import consumable, subscriber, unique
from support.store_inspection import KEYS
from support.stores import store_of
from support.tools import VALKEY_SERVER
from support.topologies import Cluster, SentinelTrio, Topology

TRANSPORTS: Final = ("native", "grpcio")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES: Final = (
    "",
    *(f"canuse.v1.{name}Service" for name in ("Entitlement", "Catalog", "User", "Subscription", "Usage", "ApiKey")),
    "envoy.service.ratelimit.v3.RateLimitService",
)


def health(canuse: Canuse) -> set[int]:
    """Return the status of the server and of its services."""
    with grpc.insecure_channel(canuse.address, options=OWN_CONNECTION) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        return {check(health_pb2.HealthCheckRequest(service=name), timeout=10).status for name in SERVICES}


def reason(call: Callable[[], object]) -> str:
    """Return the reason with which a call fails, empty if it succeeds."""
    try:
        call()
    except CanuseError as error:
        return error.reason
    return ""


def reasons(client: Client, user_id: str, feature_id: str) -> set[str]:
    """Return the reasons with which calls of all kinds fail."""
    event = v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, delta=1)
    check = v1.CanUseRequest(user_id=user_id, feature_id=unique("feature"))
    calls: tuple[Callable[[], object], ...] = (
        lambda: client.use_feature(user_id, feature_id),
        lambda: client.create_usage_event(user_id, feature_id),
        lambda: client.can_use(user_id, unique("feature")),
        lambda: client.get_user(user_id),
        lambda: client.get_feature(feature_id),
        lambda: client.create_user(unique("user")),
        lambda: consumable(client),
        lambda: list(client.list_subscriptions(user_id)),
        lambda: list(client.list_users()),
    )
    found = {reason(call) for call in calls}
    for answers in (client.batch_create_usage_events([event]), client.batch_can_use([check])):
        found |= {reason(lambda answer=answer: raised(answer)) for answer in answers}  # type: ignore[misc]
    return found


def raised(answer: object) -> None:
    """Raise the error of an item of a batch."""
    if isinstance(answer, CanuseError):
        raise answer


def contents(redis: Redis) -> set[bytes]:
    """Return the names of the keys in the store."""
    return set(cast("Any", redis.scan_iter()))


@contextmanager
def inside(canuse: Canuse) -> Iterator[Redis]:
    """Return a client of the store."""
    redis = store_of(canuse)
    try:
        yield redis
    finally:
        redis.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("default_package", ["", "basic"])
async def test_a_store_that_was_emptied_is_an_outage_until_its_data_is_back(
    transport: str, default_package: str, tmp_path: Path
) -> None:
    """Every call was USER_NOT_FOUND, from a server that reported to be healthy."""
    env = {"CANUSE_DEFAULT_PACKAGE": default_package} if default_package else {}
    with running(Canuse(tmp_path, "--transport", transport, env=env)) as canuse, Client(canuse.address) as client:
        user_id, feature_id = subscriber(client, 5)
        assert client.use_feature(user_id, feature_id).access
        assert health(canuse) == {SERVING}
        with inside(canuse) as redis:
            before = {key: redis.dump(key) for key in contents(redis)}
            redis.flushall()
            # At once, before any check of the store has run.
            assert reason(lambda: client.use_feature(user_id, feature_id)) == "STORE_UNAVAILABLE"
            await wait_until(lambda: health(canuse) == {NOT_SERVING})
            assert reasons(client, user_id, feature_id) == {"STORE_UNAVAILABLE"}
            check = client.can_use(user_id, feature_id)
            assert (check.access, check.reason) == (False, v1.REASON_STORE_UNAVAILABLE)
            assert contents(redis) == set()
            assert canuse.log.count("the store is no longer used") == 1
            for key, value in before.items():
                redis.restore(cast("Any", key), 0, cast("Any", value))
        await wait_until(lambda: health(canuse) == {SERVING})
        assert client.use_feature(user_id, feature_id).consumption.used == 2
        assert client.create_user(unique("user")).id


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_users_who_are_there_are_not_counted_for_in_data_of_an_unknown_layout(
    transport: str, tmp_path: Path
) -> None:
    """A backup of a newer version may bring it."""
    with running(Canuse(tmp_path, "--transport", transport)) as canuse, Client(canuse.address) as client:
        user_id, feature_id = subscriber(client, 5)
        event = v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, delta=1)
        with inside(canuse) as redis:
            redis.set(SCHEMA, "9999")
            await wait_until(lambda: health(canuse) == {NOT_SERVING})
            assert reason(lambda: client.use_feature(user_id, feature_id)) == "STORE_UNAVAILABLE"
            assert reason(lambda: client.update_user(user_id, name="n")) == "STORE_UNAVAILABLE"
            [answer] = client.batch_create_usage_events([event])
            assert reason(lambda: raised(answer)) == "STORE_UNAVAILABLE"
            assert client.can_use(user_id, feature_id).reason == v1.REASON_STORE_UNAVAILABLE
            redis.set(SCHEMA, VERSION)
        await wait_until(lambda: health(canuse) == {SERVING})
        assert client.use_feature(user_id, feature_id).consumption.used == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_restart_takes_an_empty_store_for_a_new_one(transport: str, tmp_path: Path) -> None:
    with running(Canuse(tmp_path, "--transport", transport)) as canuse:
        with inside(canuse) as redis:
            redis.flushall()
        await wait_until(lambda: health(canuse) == {NOT_SERVING})
        canuse.stop()
        canuse.start()
        assert health(canuse) == {SERVING}
        with Client(canuse.address) as client:
            assert client.create_user(unique("user")).id


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_valkey_that_comes_back_without_its_data_is_not_used(transport: str, tmp_path: Path) -> None:
    """As a Valkey does that is restarted with `--appendonly yes` over a snapshot."""
    valkey = RedisServer(VALKEY_SERVER, tmp_path / "valkey", ("--appendonly", "no")).start()
    try:
        canuse = Canuse(tmp_path, "--transport", transport, "--redis-url", valkey.url)
        with running(canuse), Client(canuse.address) as client:
            user_id, feature_id = subscriber(client, 5)
            valkey.command("SAVE")
            valkey.stop()
            valkey.settings = ()
            valkey.start()
            assert "NOT_FOUND" not in reason(lambda: client.use_feature(user_id, feature_id))
            await wait_until(lambda: health(canuse) == {NOT_SERVING})
            assert reasons(client, user_id, feature_id) == {"STORE_UNAVAILABLE"}
            assert valkey.command("DBSIZE") == b":0\r\n"
    finally:
        valkey.stop()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_no_worker_goes_on_with_an_empty_store_or_makes_it_its_own(transport: str, tmp_path: Path) -> None:
    with running(Canuse(tmp_path, "--transport", transport, "--workers", "2")) as canuse, inside(canuse) as redis:
        redis.flushall()
        for _ in range(5):
            await wait_until(lambda: health(canuse) == {NOT_SERVING})
        kill_a_worker(canuse)
        await wait_until(lambda: "must initialize it" in canuse.log)
        assert health(canuse) == {NOT_SERVING}
        assert contents(redis) == set()


def kill_a_worker(canuse: Canuse) -> None:
    """Kill one of two workers."""

    os.kill(int(re.findall(r'"pid": (\d+)[^\n]*a worker is ready', canuse.log)[-1]), signal.SIGKILL)


@pytest.mark.parametrize("kind", [SentinelTrio, Cluster])
async def test_the_data_is_missed_on_sentinel_and_on_a_cluster_too(kind: type[Topology], tmp_path: Path) -> None:
    topology = kind(tmp_path / "stores").start()
    try:
        with running(Canuse(tmp_path, "--redis-url", topology.url)) as canuse, Client(canuse.address) as client:
            user_id, feature_id = subscriber(client, 5)
            assert client.use_feature(user_id, feature_id).access
            with inside(canuse) as redis:
                # FLUSHALL is sent to each node.
                redis.delete(*contents(redis))
                assert reason(lambda: client.use_feature(user_id, feature_id)) == "STORE_UNAVAILABLE"
                await wait_until(lambda: health(canuse) == {NOT_SERVING})
                assert reasons(client, user_id, feature_id) == {"STORE_UNAVAILABLE"}
                assert not redis.exists(SCHEMA)
    finally:
        topology.stop()


async def test_a_node_of_a_cluster_that_lost_its_data_is_missed_though_the_others_have_theirs(tmp_path: Path) -> None:
    """Users of that node were reported as not existing."""
    cluster = Cluster(tmp_path / "stores").start()
    try:
        with running(Canuse(tmp_path, "--redis-url", cluster.url)) as canuse, Client(canuse.address) as client:
            without_schema = [server for server in cluster.masters if server is not cluster.owner(slot_of(SCHEMA))]
            user_id, feature_id = subscriber(client, 5)
            while cluster.owner(slot_of(KEYS.user(user_id))) not in without_schema:
                user_id = unique("user")
                client.create_user(user_id)
            cluster.owner(slot_of(KEYS.user(user_id))).command("FLUSHALL")
            assert reason(lambda: client.use_feature(user_id, feature_id)) == "STORE_UNAVAILABLE"
            await wait_until(lambda: health(canuse) == {NOT_SERVING})
            canuse.stop()
            canuse.start()
            assert health(canuse) == {SERVING}
            with Client(canuse.address, options=OWN_CONNECTION) as later:
                assert reason(lambda: later.get_user(user_id)) == "USER_NOT_FOUND"
    finally:
        cluster.stop()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_keys_that_are_gone_open_no_server_and_no_worker_that_is_started_later(
    transport: str, tmp_path: Path
) -> None:
    """Otherwise anybody on the machine could create the first key."""
    with authenticated_server(Canuse(tmp_path, "--transport", transport, "--workers", "2")) as server:
        canuse = server.canuse
        # The process that supervises the workers hears of keys as they do.
        await wait_until(lambda: canuse.log.count("API keys are required") == 3)
        with inside(canuse) as redis:
            redis.delete(API_KEYS, API_KEYS_VERSION)
        await wait_until(lambda: canuse.log.count("no API key exists any more") == 3)
        kill_a_worker(canuse)
        await wait_until(lambda: canuse.log.count("a worker is ready") == 3)
        for _ in range(8):
            with Client(canuse.address, options=OWN_CONNECTION) as nobody:
                assert reason(lambda: consumable(nobody)) == "API_KEY_MISSING"
