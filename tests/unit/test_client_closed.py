"""Calls of a closed client raise a CanuseError; CancelledError is only for a task that was cancelled."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import grpc
import grpc.aio
import pytest

from canuse import AsyncClient, CanuseError, Client, ClientClosed, v1

MAX_WAIT_SECONDS = 30


@dataclass
class Server:
    """A server that answers only lists and the first message of a stream, until `release` is set."""

    address: str = ""
    arrived: Event = field(default_factory=Event)
    release: Event = field(default_factory=Event)

    def wait(self, _request: Any, _context: grpc.ServicerContext) -> v1.UseFeatureResponse:
        """Answer late with an empty message, whose bytes are those of any type."""
        self.arrived.set()
        self.release.wait(MAX_WAIT_SECONDS)
        return v1.UseFeatureResponse()

    def page(self, request: v1.ListUsersRequest, context: grpc.ServicerContext) -> v1.ListUsersResponse:
        """Return the first of many pages."""
        if request.page_token:
            self.wait(request, context)
        return v1.ListUsersResponse(users=[v1.User(id="u")], next_page_token="2")

    def stream(self, request: Any, context: grpc.ServicerContext) -> Iterator[v1.MigrateSubscriptionsResponse]:
        """Send one message."""
        yield v1.MigrateSubscriptionsResponse(users=1)
        self.wait(request, context)


def raw(data: bytes) -> bytes:
    """Return a message as it arrived."""
    return data


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve until the end of the test."""
    service = Server()
    unary = grpc.unary_unary_rpc_method_handler(service.wait, raw, v1.UseFeatureResponse.SerializeToString)
    handlers: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {
        "EntitlementService": dict.fromkeys(("CanUse", "UseFeature", "BatchCanUse", "BatchCreateUsageEvents"), unary),
        "UserService": {
            "ListUsers": grpc.unary_unary_rpc_method_handler(
                service.page, v1.ListUsersRequest.FromString, v1.ListUsersResponse.SerializeToString
            )
        },
        "CatalogService": {
            "MigrateSubscriptions": grpc.unary_stream_rpc_method_handler(
                service.stream, raw, v1.MigrateSubscriptionsResponse.SerializeToString
            )
        },
    }
    grpc_server = grpc.server(ThreadPoolExecutor(8))
    grpc_server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(f"canuse.v1.{name}", found) for name, found in handlers.items()]
    )
    service.address = f"127.0.0.1:{grpc_server.add_insecure_port('127.0.0.1:0')}"
    grpc_server.start()
    yield service
    service.release.set()
    grpc_server.stop(None).wait()


async def consume(items: AsyncIterator[Any]) -> list[Any]:
    """Read an iterator to its end."""
    return [item async for item in items]


CHECK = v1.CanUseRequest(user_id="u", feature_id="f")
USE = v1.CreateUsageEventRequest(user_id="u", feature_id="f")
CALLS: dict[str, Callable[[Client], object]] = {
    "can_use": lambda client: client.can_use("u", "f"),
    "use_feature": lambda client: client.use_feature("u", "f"),
    "batch_can_use": lambda client: client.batch_can_use([CHECK]),
    "batch_create_usage_events": lambda client: client.batch_create_usage_events([USE]),
    "list_users": lambda client: list(client.list_users()),
    "migrate_subscriptions": lambda client: list(client.migrate_subscriptions("p")),
}
ASYNC_CALLS: dict[str, Callable[[AsyncClient], Awaitable[object]]] = {
    "can_use": lambda client: client.can_use("u", "f"),
    "use_feature": lambda client: client.use_feature("u", "f"),
    "batch_can_use": lambda client: client.batch_can_use([CHECK]),
    "batch_create_usage_events": lambda client: client.batch_create_usage_events([USE]),
    "list_users": lambda client: consume(client.list_users()),
    "migrate_subscriptions": lambda client: consume(client.migrate_subscriptions("p")),
}
EVERY_CALL = pytest.mark.parametrize("name", CALLS)


async def run(call: Awaitable[object]) -> object:
    """Await a call in a task."""
    return await call


@EVERY_CALL
def test_a_call_in_progress_fails_when_its_client_is_closed(server: Server, name: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        with Client(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
            call = threads.submit(CALLS[name], client)
            assert server.arrived.wait(MAX_WAIT_SECONDS)
        with pytest.raises(ClientClosed, match="closed during the call"):
            call.result()


@EVERY_CALL
def test_a_call_after_the_close_fails_and_is_not_sent(server: Server, name: str) -> None:
    # It was gRPC's ValueError.
    client = Client(server.address)
    client.close()
    with pytest.raises(ClientClosed, match="nothing was sent"):
        CALLS[name](client)
    assert not server.arrived.is_set()


@EVERY_CALL
async def test_an_asynchronous_call_in_progress_fails_when_its_client_is_closed(server: Server, name: str) -> None:
    # It was CancelledError, although nothing was cancelled, which a task group takes for its own cancellation.
    async with AsyncClient(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
        task = asyncio.create_task(run(ASYNC_CALLS[name](client)))
        assert await asyncio.to_thread(server.arrived.wait, MAX_WAIT_SECONDS)
    with pytest.raises(ClientClosed, match="closed during the call"):
        await task
    assert not task.cancelled()


@EVERY_CALL
async def test_an_asynchronous_call_after_the_close_fails_and_is_not_sent(server: Server, name: str) -> None:
    # It was UsageError, which is not a CanuseError.
    client = AsyncClient(server.address)
    await client.close()
    with pytest.raises(ClientClosed, match="nothing was sent"):
        await ASYNC_CALLS[name](client)
    assert not server.arrived.is_set()


@EVERY_CALL
async def test_a_task_that_is_cancelled_is_cancelled_even_if_its_client_closes(server: Server, name: str) -> None:
    async with AsyncClient(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
        task = asyncio.create_task(run(ASYNC_CALLS[name](client)))
        assert await asyncio.to_thread(server.arrived.wait, MAX_WAIT_SECONDS)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_timeout_of_the_callers_own_stays_a_timeout(server: Server) -> None:
    async with AsyncClient(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.can_use("u", "f"), 0.1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.can_use("u", "f")


async def test_closing_the_callers_own_channel_is_reported_in_the_same_way(server: Server) -> None:
    channel = grpc.aio.insecure_channel(server.address)
    client = AsyncClient(channel=channel, timeout_seconds=MAX_WAIT_SECONDS)
    task = asyncio.create_task(run(client.can_use("u", "f")))
    assert await asyncio.to_thread(server.arrived.wait, MAX_WAIT_SECONDS)
    await channel.close()
    with pytest.raises(ClientClosed, match="closed during the call"):
        await task
    with pytest.raises(ClientClosed, match="nothing was sent"):
        await client.can_use("u", "f")

    sync_channel = grpc.insecure_channel(server.address)
    sync_client = Client(channel=sync_channel)
    sync_channel.close()
    with pytest.raises(ClientClosed, match="nothing was sent"):
        sync_client.can_use("u", "f")


async def test_a_channel_of_another_event_loop_says_so(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel, AsyncClient(channel=channel) as client:

        def call_from_another_loop() -> None:
            with pytest.raises(RuntimeError, match="belongs to another event loop: pass a target"):
                asyncio.run(run(client.can_use("u", "f")))

        await asyncio.to_thread(call_from_another_loop)


def test_that_a_client_was_closed_is_a_canuse_error() -> None:
    assert issubclass(ClientClosed, CanuseError)
