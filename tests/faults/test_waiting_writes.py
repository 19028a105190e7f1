"""Waiting calls count towards the limits, whether they wait for a lane, the store's reply, its disk or a replica.

On the native transport, writes that wait for a confirmation have a thread of their own, which accepted everything: with
a limit of 100 calls it accepted 3,439, and it did not count metadata.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from canuse import CanuseError, Overloaded, v1
from support.load import MAX_WAIT_SECONDS, callers, running, used, wait_until
from support.message_clients import AsyncClient, Client
from support.processes import Canuse, RedisServer
from support.relay import Relay, server_behind_relay
from support.resources import subscriber
from support.tools import VALKEY_SERVER

CALLS = 300
MAX_IN_FLIGHT = 50
METADATA = (("x-large", "x" * 10_000),)
MAX_IN_LANE = 80
"""Maximum number of calls that a lane has taken, besides those that wait for it."""


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A store that can confirm what is on its disk, and has no replica."""
    server = RedisServer(VALKEY_SERVER, tmp_path_factory.mktemp("valkey")).start()
    yield server
    server.stop()


@asynccontextmanager
async def confirming(
    transport: str, folder: Path, valkey: RedisServer, level: str, **env: str
) -> AsyncIterator[tuple[Canuse, Relay, str, str]]:
    """Run a server that confirms all writes, with a user to write for."""
    with running(Canuse(folder, "--redis-url", valkey.url)) as canuse, Client(canuse.address) as client:
        user_id, feature_id = subscriber(client, None)
    env = {"CANUSE_DURABILITY": level, "CANUSE_STORE_TIMEOUT_SECONDS": "30", **env}
    async with server_behind_relay(transport, folder, valkey, **env) as (canuse, relay):
        yield canuse, relay, user_id, feature_id


async def test_writes_that_wait_for_the_disk_count_until_they_are_answered_fail_or_are_given_up(
    transport: str, tmp_path: Path, valkey: RedisServer
) -> None:
    env = {"CANUSE_MAX_CALLS_IN_FLIGHT": str(MAX_IN_FLIGHT), "CANUSE_DURABILITY_TIMEOUT_SECONDS": "30"}
    async with (
        confirming(transport, tmp_path, valkey, "fsync", **env) as (canuse, relay, user_id, feature_id),
        callers(canuse.address, 1) as (client,),
        AsyncClient(canuse.address, timeout_seconds=1) as impatient_client,
    ):
        acknowledged = 0
        for ending in ("answered", "broken", "cancelled", "deadline", "answered"):
            caller = impatient_client if ending == "deadline" else client
            await wait_until_all_have_left(client, user_id, feature_id)
            acknowledged += 1
            relay.hold_replies()
            calls = [asyncio.ensure_future(caller.create_usage_event(user_id, feature_id)) for _ in range(CALLS)]
            await wait_until(partial(all_but_done, calls, MAX_IN_FLIGHT))
            if ending == "broken":
                relay.cut()
            if ending == "cancelled":
                for each in calls:
                    each.cancel()
            if ending == "deadline":
                await asyncio.wait(calls)
            relay.release()
            results = await asyncio.gather(*calls, return_exceptions=True)
            # The same number each time: no call that has left is still counted, or was counted as leaving twice.
            assert sum(isinstance(result, Overloaded) for result in results) == CALLS - MAX_IN_FLIGHT, ending
            acknowledged += sum(isinstance(result, v1.CreateUsageEventResponse) for result in results)
            if ending == "answered":
                assert sum(isinstance(result, v1.CreateUsageEventResponse) for result in results) == MAX_IN_FLIGHT
        assert await asyncio.to_thread(counted, canuse.address, user_id, feature_id) >= acknowledged


def all_but_done(calls: Sequence["asyncio.Future[Any]"], max_open: int) -> bool:
    """Whether at most so many calls are still open."""
    return sum(not each.done() for each in calls) <= max_open


async def wait_until_all_have_left(client: AsyncClient, user_id: str, feature_id: str) -> None:
    """Make one write behind all others, as soon as there is room for it."""

    async def is_written() -> bool:
        try:
            await client.create_usage_event(user_id, feature_id)
        except Overloaded:
            return False
        return True

    async with asyncio.timeout(MAX_WAIT_SECONDS):
        while not await is_written():
            await asyncio.sleep(0.05)


def counted(address: str, user_id: str, feature_id: str) -> int:
    with Client(address) as client:
        return used(client, user_id, feature_id)


async def test_the_bytes_of_writes_that_wait_for_a_missing_replica_count_with_their_metadata(
    transport: str, tmp_path: Path, valkey: RedisServer
) -> None:
    env = {"CANUSE_MAX_WAITING_BYTES": str(MAX_IN_FLIGHT * 10_000), "CANUSE_DURABILITY_TIMEOUT_SECONDS": "2"}
    async with (
        confirming(transport, tmp_path, valkey, "replica", **env) as (canuse, _, user_id, feature_id),
        grpc.aio.insecure_channel(canuse.address) as channel,
    ):
        request = v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, delta=1).SerializeToString()
        call: Any = channel.unary_unary("/canuse.v1.EntitlementService/CreateUsageEvent")
        for _ in range(2):
            codes = await codes_of(lambda: call(request, timeout=MAX_WAIT_SECONDS, metadata=METADATA))
            assert set(codes) == {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
            # Not confirmed, but accepted.
            assert MAX_IN_FLIGHT * 0.8 < codes.count(grpc.StatusCode.UNAVAILABLE) <= MAX_IN_FLIGHT


async def codes_of(call: Callable[[], Awaitable[object]]) -> list[grpc.StatusCode]:
    """Make many concurrent calls; return their statuses."""
    return await asyncio.gather(*(code_of(call()) for _ in range(CALLS)))


@pytest.mark.parametrize("path", ["EntitlementService/UseFeature", "UserService/ListUsers", "UsageService/ShowUsage"])
async def test_metadata_counts_for_calls_that_wait_for_the_store(
    transport: str, tmp_path: Path, valkey: RedisServer, path: str
) -> None:
    env = {"CANUSE_MAX_WAITING_BYTES": str(MAX_IN_FLIGHT * 10_000), "CANUSE_STORE_TIMEOUT_SECONDS": "30"}
    async with server_behind_relay(transport, tmp_path, valkey, **env) as (canuse, relay):
        with Client(canuse.address) as client:
            user_id, feature_id = await asyncio.to_thread(subscriber, client, None)
        request = (
            b""
            if path.endswith("ListUsers")
            else v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id).SerializeToString()
        )  # ShowUsage has the same fields.
        relay.hold_replies()
        async with grpc.aio.insecure_channel(canuse.address) as channel:
            call: Any = channel.unary_unary(f"/canuse.v1.{path}")
            calls = [
                asyncio.ensure_future(code_of(call(request, timeout=MAX_WAIT_SECONDS, metadata=METADATA)))
                for _ in range(CALLS)
            ]
            max_open = MAX_IN_FLIGHT + (MAX_IN_LANE if path.endswith("UseFeature") else 0)
            await wait_until(partial(all_but_done, calls, max_open))
            relay.release()
            codes = await asyncio.gather(*calls)
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}


async def code_of(call: Awaitable[object]) -> grpc.StatusCode:
    """Return the status of a call."""
    try:
        await call
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    except CanuseError as error:
        return error.code
    return grpc.StatusCode.OK


async def test_a_call_cancelled_while_it_waits_for_a_lane_leaves_its_place_to_others(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """Cancellations were not noticed until a lane came to the call, which kept its place until then."""
    env = {"CANUSE_MAX_CALLS_IN_FLIGHT": str(MAX_IN_FLIGHT), "CANUSE_STORE_TIMEOUT_SECONDS": "30"}
    async with (
        server_behind_relay("native", tmp_path, valkey, **env) as (canuse, relay),
        callers(canuse.address, 1) as (client,),
        AsyncClient(canuse.address, timeout_seconds=1) as impatient_client,
    ):
        with Client(canuse.address) as setting_up:
            user_id, feature_id = await asyncio.to_thread(subscriber, setting_up, None)
        relay.hold_replies()
        calls = [asyncio.ensure_future(client.use_feature(user_id, feature_id)) for _ in range(CALLS)]
        await wait_until(partial(all_but_done, calls, MAX_IN_FLIGHT + MAX_IN_LANE))
        for each in calls:
            each.cancel()
        await asyncio.wait(calls)
        async with asyncio.timeout(MAX_WAIT_SECONDS):
            # Refused at once, or accepted and then cancelled by its deadline.
            while (
                await code_of(impatient_client.use_feature(user_id, feature_id))
                is not grpc.StatusCode.DEADLINE_EXCEEDED
            ):
                await asyncio.sleep(0.1)
        relay.release()
