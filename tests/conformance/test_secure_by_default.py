"""Who is admitted without any settings: everybody on the loopback, nobody from elsewhere."""

import re
from pathlib import Path
from threading import Thread

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from canuse import CanuseError
from canuse_server.store.keys import API_KEYS, API_KEYS_VERSION
from support.authenticated_server import SCOPES, authenticated_server
from support.load import OWN_CONNECTION, running, wait_until
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.stores import store_of

ANYWHERE = {"CANUSE_LISTEN": "0.0.0.0:0"}
KEY = re.compile(r"sk_\w+")
TRANSPORTS = ["native", "grpcio"]


def asked_for(client: Client) -> str:
    """Return the reason with which a call fails, empty if it succeeds."""
    try:
        list(client.list_users())
    except CanuseError as error:
        return error.reason
    return ""


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_where_others_can_reach_it_a_server_makes_one_key_and_demands_it(
    tmp_path: Path, transport: str, workers: str
) -> None:
    canuse = Canuse(tmp_path, "--transport", transport, "--workers", workers, env=ANYWHERE)
    with running(canuse):
        [said] = canuse.startup_lines
        [secret] = KEY.findall(said)
        assert "access by API key" in canuse.ready_line
        # Enough connections for both workers to get some.
        for _ in range(12):
            with Client(canuse.address, options=OWN_CONNECTION) as nobody:
                assert asked_for(nobody) == "API_KEY_MISSING"
            with Client(canuse.address, api_key=secret, options=OWN_CONNECTION) as admin:
                assert asked_for(admin) == ""
        with Client(canuse.address, api_key=secret) as admin:
            [key] = admin.list_api_keys()
            assert list(key.scopes) == sorted(SCOPES)
    # Printed this once, on standard output only.
    assert not KEY.search(canuse.log)
    with running(canuse):
        assert canuse.startup_lines == []
        with Client(canuse.address) as nobody:
            assert asked_for(nobody) == "API_KEY_MISSING"


async def test_where_others_can_reach_it_a_server_stays_closed_when_all_keys_are_gone(tmp_path: Path) -> None:
    with running(Canuse(tmp_path, env=ANYWHERE)) as canuse:
        [secret] = KEY.findall(canuse.startup_lines[0])
        redis = store_of(canuse)
        redis.delete(API_KEYS, API_KEYS_VERSION)
        redis.close()
        with Client(canuse.address) as nobody, Client(canuse.address, api_key=secret) as admin:
            await wait_until(lambda: asked_for(admin) == "API_KEY_INVALID")
            assert asked_for(nobody) == "API_KEY_MISSING"
    with running(canuse):
        assert len(canuse.startup_lines) == 1


def test_of_servers_that_start_at_the_same_time_one_makes_the_key(tmp_path: Path, redis: RedisServer) -> None:
    url = f"{redis.url}/5"
    servers = [Canuse(tmp_path / str(number), "--redis-url", url, env=ANYWHERE) for number in range(3)]
    for canuse in servers:
        canuse.folder.mkdir()
    threads = [Thread(target=canuse.start) for canuse in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        [secret] = KEY.findall("".join(line for canuse in servers for line in canuse.startup_lines))
        for canuse in servers:
            with Client(canuse.address) as nobody, Client(canuse.address, api_key=secret) as admin:
                assert [asked_for(nobody), asked_for(admin)] == ["API_KEY_MISSING", ""]
    finally:
        for canuse in servers:
            canuse.stop()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_only_who_says_so_gets_an_open_server_that_others_can_reach(tmp_path: Path, transport: str) -> None:
    canuse = Canuse(tmp_path, "--transport", transport, "--insecure-no-auth", env=ANYWHERE)
    with running(canuse):
        assert canuse.startup_lines == []
        assert "access open to all" in canuse.ready_line
        assert "API keys are not required" in canuse.log
        with Client(canuse.address) as nobody:
            assert asked_for(nobody) == ""


def test_on_the_loopback_a_server_is_open_and_says_so(tmp_path: Path) -> None:
    with running(Canuse(tmp_path)) as canuse:
        assert canuse.startup_lines == []
        assert "access open on this machine until there is an API key" in canuse.ready_line
        assert canuse.log.count("open to every caller on this machine until the first API key is created") == 1
        with Client(canuse.address) as nobody:
            assert asked_for(nobody) == ""


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_health_and_reflection_need_no_key(tmp_path: Path, transport: str) -> None:
    canuse = Canuse(tmp_path, "--transport", transport)
    with authenticated_server(canuse), grpc.insecure_channel(canuse.address) as channel:
        assert health(channel) == health_pb2.HealthCheckResponse.SERVING
        assert "canuse.v1.ApiKeyService" in services(channel)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_reflection_can_be_turned_off(tmp_path: Path, transport: str) -> None:
    canuse = Canuse(tmp_path, "--transport", transport, env={"CANUSE_REFLECTION": "false"})
    with running(canuse), grpc.insecure_channel(canuse.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            services(channel)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert health(channel) == health_pb2.HealthCheckResponse.SERVING


def health(channel: grpc.Channel) -> int:
    """Return the status of the health service."""
    return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status  # type: ignore[no-any-return]


def services(channel: grpc.Channel) -> list[str]:
    """Return the services that reflection lists."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    [answer] = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    return [service.name for service in answer.list_services_response.service]
