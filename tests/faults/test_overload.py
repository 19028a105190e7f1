"""Overload is refused at once, with the time to retry after, and requests that are too large are refused."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import grpc
import pytest
from bench.headers import Decoder
from bench.http2 import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from canuse import CanuseError, Overloaded, v1
from canuse.errors import from_rpc_error
from canuse_server.api.metadata import MAX_METADATA_BYTES
from canuse_server.transport.limits import MAX_MESSAGE_BYTES, MAX_STREAMS
from canuse_server.transport.reflection import BURST_BYTES, BYTES_PER_SECOND
from chaos.attacks import block, frame, message
from support.authenticated_server import LIVE, SCOPES
from support.grpc_statuses import statuses
from support.load import MAX_WAIT_SECONDS, OWN_CONNECTION, callers, running, used, wait_until
from support.message_clients import AsyncClient, Client
from support.processes import Canuse, RedisServer
from support.relay import Relay, server_behind_relay
from support.resources import subscriber

CALLS = 300
MAX_IN_FLIGHT = 50
MAX_CONCURRENT_STREAMS = 3


@asynccontextmanager
async def server_with_relay(
    transport: str, folder: Path, redis: RedisServer, *, database: str = "0", **env: str
) -> AsyncIterator[tuple[Canuse, Relay, AsyncClient]]:
    """Run a server with a relay that can hold its store's replies back."""
    env = {"CANUSE_STORE_TIMEOUT_SECONDS": "30", **env}
    async with (
        server_behind_relay(transport, folder, redis, database=database, **env) as (canuse, relay),
        callers(canuse.address, 1) as (client,),
    ):
        yield canuse, relay, client


def create_subscriber(address: str) -> tuple[str, str]:
    with Client(address) as client:
        return subscriber(client, None)


async def healthy(address: str) -> bool:
    async with grpc.aio.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        serving: bool = answer.status == health_pb2.HealthCheckResponse.SERVING
        return serving


@pytest.mark.parametrize("hot", [True, False], ids=["hot", "other"])
@pytest.mark.parametrize("bound", ["CALLS_IN_FLIGHT", "BYTES"])
async def test_calls_that_are_too_many_are_refused_at_once_and_the_others_are_made(
    transport: str, tmp_path: Path, redis: RedisServer, hot: bool, bound: str
) -> None:
    env = {"CANUSE_MAX_CALLS_IN_FLIGHT": str(MAX_IN_FLIGHT)} if bound == "CALLS_IN_FLIGHT" else {}
    if bound == "BYTES":
        env = {"CANUSE_MAX_WAITING_BYTES": str(MAX_IN_FLIGHT * 30)}
    async with server_with_relay(transport, tmp_path, redis, **env) as (canuse, relay, client):
        user_id, feature_id = await asyncio.to_thread(create_subscriber, canuse.address)
        relay.hold_replies()
        call: Callable[[str, str], Awaitable[object]] = client.use_feature if hot else client.show_usage
        calls = [asyncio.ensure_future(call(user_id, feature_id)) for _ in range(CALLS)]
        # Refused while the store has answered nothing; the calls that the lane had already taken come on top of the
        # bound.
        await wait_until(lambda: sum(each.done() for each in calls) >= CALLS - 3 * MAX_IN_FLIGHT)
        refused = [each.exception() for each in calls if each.done()]
        assert {type(error) for error in refused} == {Overloaded}
        assert all(isinstance(error, CanuseError) and error.reason == "OVERLOADED" for error in refused)
        assert {error.retry_after_seconds for error in refused if isinstance(error, CanuseError)} == {0.5}
        assert await healthy(canuse.address)
        relay.release()
        results = await asyncio.gather(*calls, return_exceptions=True)
        accepted = [result for result in results if not isinstance(result, Overloaded)]
        assert {type(result) for result in accepted} == {v1.UseFeatureResponse if hot else v1.ShowUsageResponse}
        assert len(accepted) >= 10
        answer = await client.use_feature(user_id, feature_id)
        assert answer.consumption.used == len(accepted) * hot + 1


async def test_a_call_whose_deadline_passed_while_it_waited_is_not_made(tmp_path: Path, redis: RedisServer) -> None:
    async with server_with_relay("native", tmp_path, redis) as (canuse, relay, client):
        user_id, feature_id = await asyncio.to_thread(create_subscriber, canuse.address)
        await client.use_feature(user_id, feature_id)
        relay.hold_replies()
        before = redis.calls("evalsha")
        first = asyncio.ensure_future(client.use_feature(user_id, feature_id))
        await wait_until(lambda: redis.calls("evalsha") > before)
        async with AsyncClient(canuse.address, timeout_seconds=0.2) as impatient_client:
            late = [impatient_client.use_feature(user_id, feature_id) for _ in range(20)]
            results = await asyncio.gather(*late, return_exceptions=True)
        assert {getattr(result, "code", None) for result in results} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        # The server counts from when a call reached it, which on a busy machine is later.
        await asyncio.sleep(0.2)
        relay.release()
        await asyncio.wait_for(first, MAX_WAIT_SECONDS)
        await client.use_feature(user_id, feature_id)
        assert await asyncio.to_thread(counted, canuse.address, user_id, feature_id) == 3


async def test_a_call_whose_deadline_passed_while_the_lane_connected_is_not_made(
    tmp_path: Path, redis: RedisServer
) -> None:
    async with server_with_relay("native", tmp_path, redis, database="1") as (canuse, relay, client):
        user_id, feature_id = await asyncio.to_thread(create_subscriber, canuse.address)
        await client.use_feature(user_id, feature_id)
        relay.hold_replies()  # To the choice of the database, with which each connection begins.
        relay.cut()
        async with AsyncClient(canuse.address, timeout_seconds=0.3) as impatient_client:
            with pytest.raises(CanuseError) as late:
                await impatient_client.use_feature(user_id, feature_id)
        assert late.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
        relay.release()
        await client.use_feature(user_id, feature_id)
        assert await asyncio.to_thread(counted, canuse.address, user_id, feature_id) == 2


@pytest.mark.parametrize("way", ["deadline", "cancel"])
async def test_a_cancelled_page_takes_no_room_and_no_turn(
    transport: str, tmp_path: Path, redis: RedisServer, way: str
) -> None:
    """The native transport's front delegates calls, and does not cancel them by itself."""
    async with server_with_relay(transport, tmp_path, redis, CANUSE_MAX_CALLS_IN_FLIGHT=str(MAX_IN_FLIGHT)) as (
        canuse,
        relay,
        client,
    ):
        await asyncio.to_thread(create_subscriber, canuse.address)
        relay.hold_replies()
        async with AsyncClient(
            canuse.address, timeout_seconds=0.3 if way == "deadline" else MAX_WAIT_SECONDS
        ) as impatient_client:
            taken_on = {grpc.StatusCode.DEADLINE_EXCEEDED} if way == "deadline" else {None}
            assert await codes_of_pages(impatient_client, way) == taken_on
            # Once the server knows of the cancellations, it accepts as many calls again.
            pause_seconds = 0.5
            async with asyncio.timeout(3 * MAX_WAIT_SECONDS):
                while await codes_of_pages(impatient_client, way) != taken_on:
                    # On a busy machine it knows late, and of the calls of this attempt, too.
                    await asyncio.sleep(pause_seconds)
                    pause_seconds *= 2
        relay.release()
        assert [user async for user in client.list_users()]


async def codes_of_pages(client: AsyncClient, way: str) -> set[grpc.StatusCode | None]:
    """Request as many pages as the server accepts, and cancel them; return their statuses."""
    pages = [asyncio.ensure_future(anext(aiter(client.list_users()))) for _ in range(MAX_IN_FLIGHT)]
    if way == "cancel":
        await asyncio.sleep(0.3)
        for page in pages:
            page.cancel()
    results = await asyncio.gather(*pages, return_exceptions=True)
    return {getattr(result, "code", None) for result in results}


def counted(address: str, user_id: str, feature_id: str) -> int:
    with Client(address) as client:
        return used(client, user_id, feature_id)


METHODS = ("/canuse.v1.EntitlementService/UseFeature", "/canuse.v1.UsageService/ShowUsage")


@pytest.mark.parametrize("method", METHODS)
def test_a_request_that_is_too_large_is_refused(server: Canuse, method: str) -> None:
    with grpc.insecure_channel(server.address) as channel:
        call: Any = channel.unary_unary(method)
        for size, code in ((MAX_MESSAGE_BYTES, "INVALID_ARGUMENT"), (MAX_MESSAGE_BYTES + 1, "RESOURCE_EXHAUSTED")):
            with pytest.raises(grpc.RpcError) as refused:
                call(bytes(size), timeout=MAX_WAIT_SECONDS)
            assert refused.value.code().name == code


# Methods that the front of the native transport answers itself, delegates or streams, and one that does not exist.
PATHS = (
    *METHODS,
    "/canuse.v1.CatalogService/ListFeatures",
    "/canuse.v1.NoService/NoMethod",
    "/grpc.health.v1.Health/Check",
)


@pytest.mark.parametrize("demands_keys", [False, True], ids=["open", "keys"])
def test_a_call_with_too_much_metadata_is_refused_alone(transport: str, tmp_path: Path, demands_keys: bool) -> None:
    """On the native transport 70,000 bytes closed the connection, and ended 195 calls of others on it."""
    with running(Canuse(tmp_path, "--transport", transport)) as canuse, Client(canuse.address) as client:
        if demands_keys:
            client.create_api_key("admin", SCOPES, environment=LIVE)
        with grpc.insecure_channel(canuse.address, OWN_CONNECTION) as channel:
            beside = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            next(beside)
            for path in PATHS:
                call: Any = channel.unary_unary(path)
                for size, accepted in (
                    (MAX_METADATA_BYTES - 1500, True),
                    (MAX_METADATA_BYTES + 1, False),
                    (300 << 10, False),
                ):
                    for metadata in ((("x-large", "x" * size),), (("x-large-bin", bytes(size)),)):
                        error = error_of(call, metadata)
                        assert (error is not None and error.startswith("metadata: must be at most 16384")) != accepted
            assert beside.is_active()
            beside.cancel()


def error_of(call: Any, metadata: tuple[tuple[str, str | bytes], ...]) -> str | None:
    """Make a call; return the message of INVALID_ARGUMENT, None otherwise."""
    try:
        call(b"", timeout=MAX_WAIT_SECONDS, metadata=metadata)
    except grpc.RpcError as error:
        return str(error.details()) if error.code() is grpc.StatusCode.INVALID_ARGUMENT else None
    return None


def test_metadata_in_many_frames_is_refused_alone(server: Canuse) -> None:
    # A header that no table keeps: a name of 3 bytes, and a value whose length takes three.
    value = b"y" * (MAX_METADATA_BYTES * 3 // 4)
    more = b"\x00\x03x-y\x7f" + bytes((len(value) - 127 & 0x7F | 0x80, len(value) - 127 >> 7 & 0xFF)) + value
    user_id, feature_id = create_subscriber(server.address)
    use = v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id).SerializeToString()
    host, _, port = server.address.rpartition(":")
    decoder = Decoder()
    with socket.create_connection((host, int(port)), MAX_WAIT_SECONDS) as connection, connection.makefile("rb") as read:
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
        for stream, frames in ((1, 1), (3, 2), (5, 22)):
            headers = frame(HEADERS, 0, stream, block(METHODS[0])) + frame(CONTINUATION, 0, stream, more) * frames
            ended = frame(CONTINUATION, END_HEADERS, stream) + frame(DATA, END_STREAM, stream, message(use))
            connection.sendall(headers + ended)
            # gRPC itself refuses some of them, at random.
            assert statuses(read, decoder, [stream])[stream] in ((b"0",) if frames == 1 else (b"3", b"8"))
    with Client(server.address) as client:
        assert used(client, user_id, feature_id) == 1  # The first one, which is below the limit.


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_reflection_answers_so_much_and_no_more(transport: str, tmp_path: Path) -> None:
    question = reflection_pb2.ServerReflectionRequest(file_containing_symbol="canuse.v1.EntitlementService")
    sizes: list[int] = []
    with (
        running(Canuse(tmp_path, "--transport", transport)) as canuse,
        grpc.insecure_channel(canuse.address) as channel,
    ):
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        with pytest.raises(grpc.RpcError) as refused:
            sizes.extend(answer.ByteSize() for answer in call(repeat(question), timeout=MAX_WAIT_SECONDS))
    error = from_rpc_error(refused.value)
    assert isinstance(error, Overloaded)
    assert error.retry_after_seconds
    # All but the answer that exceeds the allowance, and what was regained in the meantime.
    assert BURST_BYTES * 0.99 < sum(sizes) < BURST_BYTES + BYTES_PER_SECOND * MAX_WAIT_SECONDS


def test_a_connection_announces_how_many_calls_may_be_open_on_it(server: Canuse) -> None:
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), MAX_WAIT_SECONDS) as connection, connection.makefile("rb") as read:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, SETTINGS, 0, 0, 0, 0, 0)))
        head = read.read(9)
        assert head[3] == SETTINGS
        settings = dict(struct.iter_unpack(">HI", read.read(int.from_bytes(head[:3]))))
    assert settings[MAX_CONCURRENT_STREAMS] == MAX_STREAMS
