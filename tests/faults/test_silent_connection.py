"""A connection that dies silently, while new ones work: a relay drops its packets, as a firewall does that forgot it.

gRPC kept it for as long as TCP retransmits, a quarter of an hour, and gave it to every new client of the process. Pings
are sent every second here, to keep the tests short; the last test uses the clients' default.
"""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from threading import Event
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
import pytest

import canuse
from canuse import AsyncClient, Client, Tls, v1
from canuse._channel import channel_options
from support.certificates import Authority
from support.load import running
from support.processes import Canuse
from support.relay import Relay

T = TypeVar("T")

HASTE: Final = (("grpc.keepalive_time_ms", 1_000), ("grpc.http2.ping_timeout_ms", 1_000))
BOUND_SECONDS: Final = 60
"""Far more than it takes, on a busy machine too, and far less than TCP takes."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server with the native transport."""
    with running(Canuse(tmp_path_factory.mktemp("plain"), "--transport", "native")) as canuse_server:
        yield canuse_server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the server."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secured(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server with TLS."""
    pair = authority.server()
    options = ("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
    with running(Canuse(tmp_path_factory.mktemp("tls"), *options)) as canuse_server:
        yield canuse_server


@pytest.fixture(params=["plain", "tls"])
def reached(request: pytest.FixtureRequest, authority: Authority) -> tuple[Canuse, Tls | bool]:
    """A server, and how to connect to it."""
    if request.param == "plain":
        return request.getfixturevalue("plain"), False
    return request.getfixturevalue("secured"), authority.trusted()


@asynccontextmanager
async def relay_to(address: str) -> AsyncIterator[tuple[Relay, str]]:
    """Open a relay to a server; yield it with its address."""
    async with Relay.to(int(address.rpartition(":")[2])) as relay:
        yield relay, f"127.0.0.1:{relay.port}"


async def until_it_answers(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call until it succeeds."""
    deadline = time.monotonic() + BOUND_SECONDS
    while True:
        try:
            return await call()
        except (canuse.Unavailable, canuse.DeadlineExceeded):
            assert time.monotonic() < deadline, "the dead connection is not given up"
            await asyncio.sleep(0.1)


def users(client: Client) -> list[str]:
    """List the users."""
    return [user.id for user in client.list_users()]


async def test_a_client_is_back_after_its_connection_died(reached: tuple[Canuse, Tls | bool]) -> None:
    server, tls = reached
    async with relay_to(server.address) as (relay, address):
        with Client(address, timeout_seconds=1, tls=tls, options=HASTE) as client:
            await until_it_answers(lambda: asyncio.to_thread(users, client))
            relay.blackhole()
            await until_it_answers(lambda: asyncio.to_thread(users, client))


async def test_an_asynchronous_client_is_back_after_its_connection_died(reached: tuple[Canuse, Tls | bool]) -> None:
    server, tls = reached
    async with (
        relay_to(server.address) as (relay, address),
        AsyncClient(address, timeout_seconds=1, tls=tls, options=HASTE) as client,
    ):

        async def check_all() -> list[str]:
            return [user.id async for user in client.list_users()]

        await until_it_answers(check_all)
        relay.blackhole()
        await until_it_answers(check_all)


async def test_a_new_client_of_the_same_process_has_a_connection_of_its_own(plain: Canuse) -> None:
    # Without pings, which would close the old connection sooner or later: only a connection of its own helps a new
    # client.
    patient = (("grpc.keepalive_time_ms", 2**31 - 1), ("grpc.http2.ping_timeout_ms", 2**31 - 1))
    async with relay_to(plain.address) as (relay, address):
        with Client(address, timeout_seconds=BOUND_SECONDS, options=patient) as old:
            await asyncio.to_thread(users, old)
            relay.blackhole()
            with Client(address, timeout_seconds=BOUND_SECONDS / 2, options=patient) as new:
                await asyncio.to_thread(users, new)
        async with AsyncClient(address, timeout_seconds=BOUND_SECONDS, options=patient) as old_asynchronous:
            _ = [user async for user in old_asynchronous.list_users()]
            relay.blackhole()
            async with AsyncClient(address, timeout_seconds=BOUND_SECONDS / 2, options=patient) as new_asynchronous:
                _ = [user async for user in new_asynchronous.list_users()]


async def test_bare_stubs_with_the_same_options_are_back_too(plain: Canuse) -> None:
    async with (
        relay_to(plain.address) as (relay, address),
        grpc.aio.insecure_channel(address, canuse.channel_options(HASTE)) as channel,
        AsyncClient(channel=channel, timeout_seconds=1) as client,
    ):

        async def check_all() -> list[str]:
            return [user.id async for user in client.list_users()]

        await until_it_answers(check_all)
        relay.blackhole()
        await until_it_answers(check_all)


@pytest.fixture
def endless() -> Iterator[str]:
    """Serve migrations that send a message every tenth of a second and never end; return the address."""
    ended = Event()

    def migrate(_request: Any, context: grpc.ServicerContext) -> Iterator[v1.MigrateSubscriptionsResponse]:
        while not ended.wait(0.1) and context.is_active():
            yield v1.MigrateSubscriptionsResponse(users=1)

    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "MigrateSubscriptions": grpc.unary_stream_rpc_method_handler(
            migrate, v1.MigrateSubscriptionsRequest.FromString, v1.MigrateSubscriptionsResponse.SerializeToString
        )
    }
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("canuse.v1.CatalogService", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    ended.set()
    server.stop(None).wait()


async def test_a_stream_ends_with_an_error_when_its_connection_died(endless: str) -> None:
    async with relay_to(endless) as (relay, address):
        with Client(address, options=HASTE, silence_timeout_seconds=BOUND_SECONDS) as client:
            messages = client.migrate_subscriptions("p")
            await asyncio.to_thread(next, messages)
            relay.blackhole()
            with pytest.raises(canuse.Unavailable):
                await asyncio.wait_for(asyncio.to_thread(list, messages), BOUND_SECONDS)
        async with AsyncClient(address, options=HASTE, silence_timeout_seconds=BOUND_SECONDS) as asynchronous:
            later = asynchronous.migrate_subscriptions("p")
            await anext(later)
            relay.blackhole()
            with pytest.raises(canuse.Unavailable):
                await asyncio.wait_for(_consume(later), BOUND_SECONDS)


async def _consume(messages: AsyncIterator[v1.MigrateSubscriptionsResponse]) -> None:
    async for _ in messages:
        continue


async def test_the_command_ends_with_an_error_when_its_connection_died(endless: str) -> None:
    # With the default options: the command has none for the channel. It waited without end.
    async with relay_to(endless) as (relay, address):
        env = {key: value for key, value in os.environ.items() if not key.startswith("CANUSE_")}
        command = [sys.executable, "-m", "canuse_server", "migrate", "p", "--json", "--server", address]
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=env)
        assert process.stdout
        assert json.loads(await process.stdout.readline())["users"] == 1
        relay.blackhole()
        _, stderr = await asyncio.wait_for(process.communicate(), BOUND_SECONDS)
        assert process.returncode == 2
        assert b"no answer from" in stderr


async def test_with_the_default_options_a_client_is_back(plain: Canuse) -> None:
    async with relay_to(plain.address) as (relay, address):
        with Client(address, timeout_seconds=1) as client:
            await until_it_answers(lambda: asyncio.to_thread(users, client))
            relay.blackhole()
            await until_it_answers(lambda: asyncio.to_thread(users, client))


def test_a_dead_connection_is_given_up_within_15_seconds_by_the_default_options() -> None:
    options: dict[str, Any] = dict(channel_options())
    assert options["grpc.keepalive_time_ms"] + options["grpc.http2.ping_timeout_ms"] < 15_000
    # Canuse's server accepts a ping every 5 seconds, with calls or without.
    assert options["grpc.keepalive_time_ms"] > 5_000
    assert options["grpc.keepalive_permit_without_calls"] == 1
