"""A server shuts down gracefully, and says clearly why it does not start."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from canuse import CanuseError, OutcomeUnknown, StoreUnavailable
from support import fork_server
from support.load import callers, running, until, used
from support.message_clients import AsyncClient, Client
from support.processes import Canuse, RedisServer
from support.relay import server_behind_relay
from support.resources import subscriber
from support.stores import valkey_pid

MAX_WAIT_SECONDS = 60


@pytest.fixture(scope="module", params=["native", "grpcio"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server on an embedded Valkey whose port and data others try to use."""
    # While another server starts, the store may be slow.
    env = {"CANUSE_STORE_TIMEOUT_SECONDS": "20"}
    with running(Canuse(tmp_path_factory.mktemp("at_work"), "--transport", request.param, env=env)) as canuse:
        yield canuse


async def is_serving(address: str) -> bool:
    """Whether the server accepts new calls."""
    async with grpc.aio.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.aio.AioRpcError:
            return False
        serving: bool = answer.status == health_pb2.HealthCheckResponse.SERVING
        return serving


async def status(canuse: Canuse, seconds: float = MAX_WAIT_SECONDS) -> int:
    """Wait for a server that is shutting down, and return its exit status."""
    assert canuse.process is not None
    return await asyncio.to_thread(canuse.process.wait, seconds)


async def calls_under_way(
    redis: RedisServer, client: AsyncClient, user_id: str, feature_id: str, number: int
) -> list["asyncio.Task[object]"]:
    """Make calls that wait for the store, over one connection, and return once all have reached the server."""

    async def call(kind: Callable[[str, str], Awaitable[object]]) -> object:
        return await kind(user_id, feature_id)

    expected = redis.calls("hgetall") + number // 4
    kinds = (client.use_feature, client.create_usage_event, client.can_use, client.show_usage)
    calls = [asyncio.create_task(call(kinds[index % 4])) for index in range(number)]
    # The last of them is a ShowUsage, which alone sends its command.
    await asyncio.to_thread(until, lambda: redis.calls("hgetall") >= expected)
    assert not any(call.done() for call in calls)
    return calls


@pytest.mark.parametrize("many", [False, True])
async def test_calls_under_way_finish_when_the_server_is_asked_to_end(
    transport: str, tmp_path: Path, redis: RedisServer, many: bool
) -> None:
    # With hundreds of calls on one channel grpcio itself sometimes ends one as CANCELLED, also on an empty server.
    number = (300 if transport == "native" else 60) if many else 4
    async with server_behind_relay(transport, tmp_path, redis, CANUSE_STORE_TIMEOUT_SECONDS="20") as (canuse, relay):
        user_id, feature_id = await asyncio.to_thread(create_subscriber, canuse.address)
        async with callers(canuse.address, 1) as (client,):
            assert await is_serving(canuse.address)
            relay.hold_replies()
            calls = await calls_under_way(redis, client, user_id, feature_id, number)
            os.kill(canuse.pid, signal.SIGTERM)
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                while await is_serving(canuse.address):
                    await asyncio.sleep(0.01)
            relay.release()
            results = await asyncio.gather(*calls, return_exceptions=True)
        assert [result for result in results if isinstance(result, BaseException)] == []
        assert await status(canuse) == 0
        assert not await is_serving(canuse.address)


async def test_calls_that_do_not_end_keep_no_server_from_ending(
    transport: str, tmp_path: Path, redis: RedisServer
) -> None:
    env = {"CANUSE_STORE_TIMEOUT_SECONDS": "60", "CANUSE_GRACE_SECONDS": "1"}
    async with server_behind_relay(transport, tmp_path, redis, **env) as (canuse, relay):
        user_id, feature_id = await asyncio.to_thread(create_subscriber, canuse.address)
        async with callers(canuse.address, 1) as (client,):
            relay.hold_replies()
            calls = await calls_under_way(redis, client, user_id, feature_id, 4)
            os.kill(canuse.pid, signal.SIGTERM)
            # Less than any wait for the store.
            assert await status(canuse, MAX_WAIT_SECONDS / 2) == 0
            results = await asyncio.gather(*calls, return_exceptions=True)
        # A check is answered without the store, if anything can still answer it.
        answered = [place for place, result in enumerate(results) if not isinstance(result, CanuseError)]
        assert answered == ([2] if transport == "native" else [])
        # The lanes have time to report the outcome of a write; gRPC ends the remaining calls with UNAVAILABLE.
        outcomes = [isinstance(result, OutcomeUnknown | StoreUnavailable) for result in results[:2]]
        assert outcomes == [transport == "native"] * 2
        assert "Traceback" not in canuse.log


def create_subscriber(address: str) -> tuple[str, str]:
    with Client(address) as client:
        return subscriber(client, None)


@pytest.mark.parametrize(("transport", "number"), [("native", signal.SIGTERM), ("grpcio", signal.SIGINT)])
async def test_a_server_that_nobody_calls_ends_while_callers_are_still_connected(
    transport: str, number: signal.Signals, tmp_path: Path
) -> None:
    with running(Canuse(tmp_path, "--transport", transport)) as canuse:
        async with callers(canuse.address, 2) as clients:
            for client in clients:
                assert [feature async for feature in client.list_features()] == []
            os.kill(canuse.pid, number)
            assert await status(canuse) == 0
        assert "Traceback" not in canuse.log


def refused(folder: Path, *options: str, env: dict[str, str]) -> str:
    """Start a server that must not start; return what it says."""
    env = {**os.environ, "CANUSE_LISTEN": "127.0.0.1:0", "CANUSE_DATA_DIR": str(folder / "data"), **env}
    ended = fork_server.run("serve", *options, env=env, timeout_seconds=MAX_WAIT_SECONDS)
    assert ended.returncode == 1, ended
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    return ended.stderr.splitlines()[-1]


def test_a_second_server_on_the_data_of_a_first_is_refused_and_the_first_goes_on(server: Canuse) -> None:
    with Client(server.address) as client:
        user_id, feature_id = subscriber(client, None)
        client.use_feature(user_id, feature_id)
        valkey = valkey_pid(server)
        said = refused(server.folder, env={})
        assert said.startswith(f"canuse: the data directory {server.folder / 'data'} is in use by another canuse")
        assert f"(pid {server.pid})" in said
        client.use_feature(user_id, feature_id)
        assert used(client, user_id, feature_id) == 2
        assert valkey_pid(server) == valkey


def test_a_port_that_is_taken_is_refused_by_name_and_nothing_is_left_running(
    server: Canuse, transport: str, tmp_path: Path
) -> None:
    said = refused(tmp_path, "--transport", transport, env={"CANUSE_LISTEN": server.address})
    assert said.startswith(f"canuse: can't listen on {server.address}: ")
    assert not (tmp_path / "data" / "valkey.sock").exists()
    with Client(server.address) as client:
        assert client.use_feature(*subscriber(client, None)).access
