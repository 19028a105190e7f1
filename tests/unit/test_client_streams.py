"""Streams of the clients: read as they arrive, with typed errors, and no further than the caller reads."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest

import canuse
from canuse import AsyncClient, Client, v1

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

MAX_WAIT_SECONDS = 30


@dataclass
class Server:
    """A CatalogService whose migrations send two messages and then, depending on the package, end, fail or continue."""

    address: str = ""
    requests: list[v1.MigrateSubscriptionsRequest] = field(default_factory=list)
    with_deadline: list[bool] = field(default_factory=list)
    ended: Event = field(default_factory=Event)

    def migrate(
        self, request: v1.MigrateSubscriptionsRequest, context: grpc.ServicerContext
    ) -> Iterator[v1.MigrateSubscriptionsResponse]:
        """Send messages."""
        self.requests.append(request)
        # Without a deadline gRPC reports a number of years.
        self.with_deadline.append(context.time_remaining() < 3600)
        context.add_callback(self.ended.set)
        yield v1.MigrateSubscriptionsResponse(users=1, resume_token="1")
        yield v1.MigrateSubscriptionsResponse(users=2, resume_token="2", done=request.package_id == "done")
        if request.package_id == "failing":
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        if request.package_id == "endless":
            self.ended.wait(MAX_WAIT_SECONDS)


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve until the end of the test."""
    service = Server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "MigrateSubscriptions": grpc.unary_stream_rpc_method_handler(
            service.migrate,
            v1.MigrateSubscriptionsRequest.FromString,
            v1.MigrateSubscriptionsResponse.SerializeToString,
        )
    }
    grpc_server = grpc.server(ThreadPoolExecutor(2))
    grpc_server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("canuse.v1.CatalogService", handlers)])
    service.address = f"127.0.0.1:{grpc_server.add_insecure_port('127.0.0.1:0')}"
    grpc_server.start()
    yield service
    grpc_server.stop(None).wait()


def stream(client: AsyncClient, package_id: str) -> "AsyncGenerator[v1.MigrateSubscriptionsResponse, None]":
    """Return a stream that can be closed."""
    messages = client.migrate_subscriptions(package_id)
    return cast("AsyncGenerator[v1.MigrateSubscriptionsResponse, None]", messages)


async def note(messages: AsyncIterator[v1.MigrateSubscriptionsResponse], seen: list[int]) -> None:
    """Append messages to `seen` as they arrive, so that those before an error remain."""
    async for message in messages:
        seen.append(message.users)  # noqa: PERF401 - a comprehension would lose them


async def test_a_stream_yields_all_messages_and_has_no_deadline(server: Server) -> None:
    with Client(server.address, timeout_seconds=0.1) as client:
        assert [message.users for message in client.migrate_subscriptions("done")] == [1, 2]
    async with AsyncClient(server.address, timeout_seconds=0.1) as asynchronous:
        assert [message.users async for message in asynchronous.migrate_subscriptions("done")] == [1, 2]
    # The deadline of a unary call is not sent: a stream takes as long as it takes.
    assert server.with_deadline == [False, False]


async def test_the_arguments_arrive(server: Server) -> None:
    arguments: dict[str, Any] = {"from_version": 1, "to_version": 2, "dry_run": True, "resume_token": "t"}
    with Client(server.address) as client:
        assert len(list(client.migrate_subscriptions("done", **arguments))) == 2
        assert len(list(client.migrate_subscriptions("done"))) == 2
    async with AsyncClient(server.address) as asynchronous:
        assert len([message async for message in asynchronous.migrate_subscriptions("done", **arguments)]) == 2
    full = v1.MigrateSubscriptionsRequest(package_id="done", **arguments)
    assert server.requests == [full, v1.MigrateSubscriptionsRequest(package_id="done"), full]


async def test_an_error_comes_typed_after_the_messages_before_it(server: Server) -> None:
    seen: list[int] = []
    with Client(server.address) as client, pytest.raises(canuse.Unavailable, match="gone"):
        seen.extend(message.users for message in client.migrate_subscriptions("failing"))
    async with AsyncClient(server.address) as asynchronous:
        with pytest.raises(canuse.Unavailable, match="gone"):
            await note(asynchronous.migrate_subscriptions("failing"), seen)
    assert seen == [1, 2, 1, 2]


async def test_a_caller_that_wants_no_more_ends_the_call(server: Server) -> None:
    with Client(server.address) as client:
        for message in client.migrate_subscriptions("endless"):
            assert message.users == 1
            break
        assert server.ended.wait(MAX_WAIT_SECONDS)
        server.ended.clear()
    async with AsyncClient(server.address) as asynchronous:
        async with aclosing(stream(asynchronous, "endless")) as messages:
            assert (await anext(messages)).users == 1
        assert server.ended.wait(MAX_WAIT_SECONDS)


async def test_nothing_is_asked_for_before_the_iteration(server: Server) -> None:
    with Client(server.address) as client:
        messages = client.migrate_subscriptions("done")
        assert server.requests == []
        assert next(messages).users == 1
        assert len(server.requests) == 1


async def test_a_stream_on_which_no_message_comes_is_given_up(server: Server) -> None:
    # There was no bound: a client waited without end for a server that hung or had vanished.
    seen: list[int] = []
    with Client(server.address, silence_timeout_seconds=0.5) as client:
        with pytest.raises(
            canuse.DeadlineExceeded, match=r"silence_timeout_seconds: no message arrived for 0\.5 seconds"
        ):
            seen.extend(message.users for message in client.migrate_subscriptions("endless"))
        assert server.ended.wait(MAX_WAIT_SECONDS)
    server.ended.clear()
    async with AsyncClient(server.address, silence_timeout_seconds=0.5) as asynchronous:
        with pytest.raises(canuse.DeadlineExceeded, match="silence_timeout_seconds"):
            await note(asynchronous.migrate_subscriptions("endless"), seen)
    assert seen == [1, 2, 1, 2]


INTERRUPTED = """
import os, signal, sys, time
from grpc import _channel
import canuse

signal.signal(signal.SIGINT, signal.default_int_handler)
serve = _channel._run_channel_spin_thread

def interrupted(state):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)
    serve(state)

_channel._run_channel_spin_thread = interrupted
try:
    with canuse.Client(sys.argv[1]) as client:
        next(client.migrate_subscriptions("endless"))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_while_a_stream_starts_does_not_keep_the_client_from_closing(server: Server) -> None:
    # It came before gRPC had started the thread of the call: closing the channel then waited for ever.
    arguments = [sys.executable, "-c", INTERRUPTED, server.address]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "interrupted\n", "")


async def test_the_time_that_the_caller_takes_for_a_message_is_no_silence(server: Server) -> None:
    with Client(server.address, silence_timeout_seconds=0.5) as client:
        for message in client.migrate_subscriptions("done"):
            await asyncio.to_thread(time.sleep, 0.7 if message.users == 1 else 0)
    async with AsyncClient(server.address, silence_timeout_seconds=0.5) as asynchronous:
        async for message in asynchronous.migrate_subscriptions("done"):
            await asyncio.sleep(0.7 if message.users == 1 else 0)
