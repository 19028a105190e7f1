"""The connection of a batch lane: it recognizes when it must not be used, and is used for as long as possible."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.blocking_connection import BlockingConnection
from canuse_server.store.redis.replies import pack
from support.load import MAX_WAIT_SECONDS
from support.message_clients import Client
from support.processes import Canuse, RedisServer, free_port
from support.relay import Relay
from support.resources import subscriber
from support.stores import store_of


@pytest.fixture
def lane(redis: RedisServer) -> Iterator[BlockingConnection]:
    connection = BlockingConnection(StoreAddress.from_url(redis.url), 0.5)
    connect(connection)
    yield connection
    connection.close()


def connect(lane: BlockingConnection) -> None:
    lane.begin()
    lane.connect()


def echo(lane: BlockingConnection, word: str) -> object:
    lane.begin()
    lane.send(pack(("ECHO", word)))
    return lane.receive()


def test_a_connection_that_is_open_and_idle_is_not_stale(lane: BlockingConnection) -> None:
    assert not lane.is_stale()
    assert echo(lane, "word") == b"word"
    assert not lane.is_stale()


def test_a_connection_that_the_store_closed_is_stale(lane: BlockingConnection, redis: RedisServer) -> None:
    echo(lane, "word")
    redis.command("CLIENT", "KILL", "TYPE", "normal")
    assert lane.is_stale()
    lane.close()
    connect(lane)
    assert not lane.is_stale()
    assert echo(lane, "again") == b"again"


def test_replies_come_in_the_order_of_the_commands(lane: BlockingConnection) -> None:
    words = [str(number) for number in range(10_000)]
    lane.begin()
    lane.send(b"".join(pack(("ECHO", word)) for word in words))
    assert [lane.receive() for _ in words] == [word.encode() for word in words]


async def test_a_store_that_takes_too_long_is_an_error_and_its_late_reply_reaches_nobody(redis: RedisServer) -> None:
    async with Relay.to(redis.port) as relay:
        lane = BlockingConnection(StoreAddress.from_url(relay.url), 0.5)
        await asyncio.to_thread(connect, lane)
        relay.hold_replies()
        with pytest.raises(OSError, match="timed out"):
            await asyncio.to_thread(echo, lane, "late")
        lane.close()
        relay.release()
        await asyncio.to_thread(connect, lane)
        assert await asyncio.to_thread(echo, lane, "own") == b"own"
        lane.close()


def test_a_connection_that_is_given_up_reports_a_store_that_takes_too_long(lane: BlockingConnection) -> None:
    """So checks are answered without the store. The event loop, which has no time left either, gets none of them."""
    echo(lane, "word")
    with ThreadPoolExecutor(1) as pool:
        lane.begin()
        lane.send(pack(("BLPOP", "nothing", "0")))
        reply = pool.submit(lane.receive)
        lane.give_up()
        with pytest.raises(TimeoutError, match="canuse is stopping"):
            reply.result(MAX_WAIT_SECONDS)
    lane.abort(TimeoutError())
    with pytest.raises(StoreUnavailableError, match="canuse is stopping"):
        connect(lane)


def test_a_store_that_is_not_there_has_written_nothing() -> None:
    with pytest.raises(StoreUnavailableError):
        connect(BlockingConnection(StoreAddress.from_url(f"redis://127.0.0.1:{free_port()}"), 0.5))


def test_a_server_keeps_its_connections_to_the_store_from_call_to_call(server: Canuse, client: Client) -> None:
    """The check of a connection once rejected every one: each call connected anew."""
    user_id, feature_id = subscriber(client, None)
    with store_of(server) as store:
        before = store.info("stats")["total_connections_received"]
        for _ in range(20):
            client.create_usage_event(user_id, feature_id)
        # The lane may have had its first call among these, and the event loop.
        assert store.info("stats")["total_connections_received"] <= before + 2
