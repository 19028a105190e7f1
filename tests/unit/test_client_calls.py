"""The clients' calls over real gRPC, to a server in this process that notes what arrives."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event
from typing import Any, cast

import grpc
import grpc.aio
import pytest

import canuse
from canuse import AsyncClient, Client, v1

PAGES = {"": ["u1", "u2"], "2": ["u3", "u4"], "3": ["u5"]}
NEXT = {"": "2", "2": "3", "3": ""}


@dataclass
class Server:
    """A UserService that notes its calls. `GetUser` of "slow" answers only once `release` is set."""

    address: str = ""
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    time_remaining_seconds: list[float] = field(default_factory=list)
    pages: list[tuple[int, str]] = field(default_factory=list)
    release: Event = field(default_factory=Event)

    def get_user(self, request: v1.GetUserRequest, context: grpc.ServicerContext) -> v1.GetUserResponse:
        """Return any user."""
        self.metadata.append(dict(cast("Iterable[tuple[str, str | bytes]]", context.invocation_metadata())))
        self.time_remaining_seconds.append(context.time_remaining())
        if request.user_id == "slow":
            self.release.wait(10)
        return v1.GetUserResponse(user=v1.User(id=request.user_id))

    def list_users(self, request: v1.ListUsersRequest, context: grpc.ServicerContext) -> v1.ListUsersResponse:
        """Return one of three pages; with a page size of 3 the second one fails."""
        self.pages.append((request.page_size, request.page_token))
        if request.page_size == 3 and request.page_token:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "page_token: not one of ours")
        users = [v1.User(id=user_id) for user_id in PAGES[request.page_token]]
        return v1.ListUsersResponse(users=users, next_page_token=NEXT[request.page_token])


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve until the end of the test."""
    service = Server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "GetUser": grpc.unary_unary_rpc_method_handler(
            service.get_user, v1.GetUserRequest.FromString, v1.GetUserResponse.SerializeToString
        ),
        "ListUsers": grpc.unary_unary_rpc_method_handler(
            service.list_users, v1.ListUsersRequest.FromString, v1.ListUsersResponse.SerializeToString
        ),
    }
    grpc_server = grpc.server(ThreadPoolExecutor(4))
    grpc_server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("canuse.v1.UserService", handlers)])
    service.address = f"127.0.0.1:{grpc_server.add_insecure_port('127.0.0.1:0')}"
    grpc_server.start()
    yield service
    service.release.set()
    grpc_server.stop(None).wait()


@pytest.fixture
def nobody() -> str:
    """Return an address where nothing listens."""
    with closing(socket.socket()) as port:
        port.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{port.getsockname()[1]}"


async def note_ids(users: AsyncIterator[v1.User], seen: list[str]) -> None:
    """Append the ids to `seen` as they arrive, so that those before an error remain."""
    async for user in users:
        seen.append(user.id)  # noqa: PERF401 - a comprehension would lose them


async def test_every_call_carries_the_api_key_and_a_deadline(server: Server) -> None:
    with Client(server.address, api_key="ck_test_1", timeout_seconds=3) as client:
        assert client.get_user("u").id == "u"
    async with AsyncClient(server.address, api_key="ck_test_1", timeout_seconds=3) as asynchronous:
        assert (await asynchronous.get_user("u")).id == "u"
    assert [metadata["authorization"] for metadata in server.metadata] == ["Bearer ck_test_1"] * 2
    # A deadline is sent as a rounded remaining time, and can arrive some milliseconds later.
    assert all(0 < seconds < 3.5 for seconds in server.time_remaining_seconds)


async def test_without_an_api_key_none_is_sent(server: Server) -> None:
    with Client(server.address) as client:
        client.get_user("u")
    async with AsyncClient(server.address) as asynchronous:
        await asynchronous.get_user("u")
    assert ["authorization" in metadata for metadata in server.metadata] == [False, False]


async def test_a_call_ends_when_its_time_is_up(server: Server) -> None:
    with Client(server.address, timeout_seconds=0.1) as client, pytest.raises(canuse.DeadlineExceeded):
        client.get_user("slow")
    async with AsyncClient(server.address, timeout_seconds=0.1) as asynchronous:
        with pytest.raises(canuse.DeadlineExceeded):
            await asynchronous.get_user("slow")


async def test_a_server_that_is_not_there_is_unavailable_without_a_reason(nobody: str) -> None:
    with Client(nobody, retry=False) as client, pytest.raises(canuse.Unavailable) as caught:
        client.get_user("u")
    assert (type(caught.value), caught.value.reason) == (canuse.Unavailable, "")
    async with AsyncClient(nobody, retry=False) as asynchronous:
        with pytest.raises(canuse.Unavailable):
            await asynchronous.get_user("u")


async def test_a_list_yields_the_items_of_all_pages(server: Server) -> None:
    expected = ["u1", "u2", "u3", "u4", "u5"]
    with Client(server.address) as client:
        assert [user.id for user in client.list_users(page_size=2)] == expected
    async with AsyncClient(server.address) as asynchronous:
        assert [user.id async for user in asynchronous.list_users(page_size=2)] == expected
    assert server.pages == [(2, ""), (2, "2"), (2, "3")] * 2


async def test_a_list_fetches_a_page_only_when_it_is_needed(server: Server) -> None:
    with Client(server.address) as client:
        users = client.list_users(page_size=2)
        assert server.pages == []
        assert [next(users).id, next(users).id] == ["u1", "u2"]
        assert len(server.pages) == 1
        assert next(users).id == "u3"
    async with AsyncClient(server.address) as asynchronous:
        server.pages.clear()
        iterator = asynchronous.list_users(page_size=2)
        assert [(await anext(iterator)).id, (await anext(iterator)).id] == ["u1", "u2"]
        assert len(server.pages) == 1


async def test_a_page_that_fails_raises_after_the_items_before_it(server: Server) -> None:
    seen: list[str] = []
    with Client(server.address) as client, pytest.raises(canuse.InvalidArgument, match="page_token"):
        seen.extend(user.id for user in client.list_users(page_size=3))
    async with AsyncClient(server.address) as asynchronous:
        with pytest.raises(canuse.InvalidArgument, match="page_token"):
            await note_ids(asynchronous.list_users(page_size=3), seen)
    assert seen == ["u1", "u2"] * 2


async def test_a_channel_that_was_passed_in_stays_open(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        for _ in range(2):
            with Client(channel=channel) as client:
                assert client.get_user("u").id == "u"
    async with grpc.aio.insecure_channel(server.address) as asynchronous_channel:
        for _ in range(2):
            async with AsyncClient(channel=asynchronous_channel) as asynchronous:
                assert (await asynchronous.get_user("u")).id == "u"


def test_an_asyncio_client_is_made_anywhere_and_used_in_one_loop_after_the_other(server: Server) -> None:
    # It was RuntimeError at the first line of a module.
    client = AsyncClient(server.address)
    for _ in range(2):
        assert asyncio.run(name_of(client, "u")) == "u"
    with pytest.raises(RuntimeError, match="no running event loop"):
        client.list_users()


def test_an_asyncio_client_serves_loops_in_several_threads_and_closes_for_all(server: Server) -> None:
    client = AsyncClient(server.address)
    closed, called = Event(), Event()

    async def call_twice() -> None:
        assert await name_of(client, "u") == "u"
        called.set()
        await asyncio.to_thread(closed.wait, 30)
        with pytest.raises(canuse.ClientClosed, match="nothing was sent"):
            await client.get_user("u")

    async def call_and_close() -> None:
        await asyncio.to_thread(called.wait, 30)
        assert await name_of(client, "u") == "u"
        await client.close()
        closed.set()

    with ThreadPoolExecutor(2) as threads:
        for ended in [threads.submit(asyncio.run, call_twice()), threads.submit(asyncio.run, call_and_close())]:
            ended.result()


async def name_of(client: AsyncClient, user_id: str) -> str:
    """Return the id of a user as the server says it."""
    return (await client.get_user(user_id)).id
