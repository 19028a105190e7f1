"""The shared connection: replies never go to the wrong caller.

When it breaks, every waiting call gets a true outcome.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import hiredis
import pytest

from canuse_server.runtime.call_state import CallState, begin_call
from canuse_server.runtime.deadline import StoreDeadline
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError, UnreachableError
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.connection import PipelinedConnection
from canuse_server.store.redis.replies import pack
from support.load import wait_until
from support.processes import RedisServer, free_port
from support.relay import Relay
from support.resources import unique

MAX_WAIT_SECONDS = 30.0


@pytest.fixture
async def relay(redis: RedisServer) -> AsyncIterator[Relay]:
    async with Relay.to(redis.port) as relay:
        yield relay


@asynccontextmanager
async def connected(url: str, timeout_seconds: float = MAX_WAIT_SECONDS) -> AsyncIterator[PipelinedConnection]:
    """Open a connection that has been used already."""
    connection = PipelinedConnection(StoreAddress.from_url(url), timeout_seconds)
    try:
        assert await echo(connection, "hello") == "hello"
        yield connection
    finally:
        connection.close()


async def echo(connection: PipelinedConnection, word: str, *, writes: bool = False) -> str:
    (reply,) = await connection.execute(pack(("ECHO", word)), 1, writes=writes)
    assert isinstance(reply, bytes)
    return reply.decode()


async def sent(relay: Relay, *calls: "asyncio.Task[str]") -> None:
    """Wait until the commands of some calls have reached the relay."""
    before = relay.request_bytes
    assert not any(call.done() for call in calls)
    await wait_until(lambda: relay.request_bytes > before)


async def test_every_caller_gets_the_replies_to_its_own_commands_while_others_give_up(relay: Relay) -> None:
    chance = random.Random(7)
    given_up = 0

    async def call(connection: PipelinedConnection, number: int) -> None:
        nonlocal given_up
        words = [f"{number}-{part}" for part in range(chance.randint(1, 3))]
        packed = b"".join(pack(("ECHO", word)) for word in words)
        try:
            async with asyncio.timeout(chance.choice((None, 0, 0.001, 0.01))):
                replies = await connection.execute(packed, len(words), writes=chance.random() < 0.5)
        except TimeoutError:
            given_up += 1
        else:
            assert replies == [word.encode() for word in words]

    async with connected(relay.url) as connection:
        for start in range(0, 5000, 500):
            await asyncio.gather(*(call(connection, number) for number in range(start, start + 500)))
        assert await echo(connection, "last") == "last"
        assert relay.connections == 1
    assert given_up > 500


async def test_a_waiter_who_gives_up_still_takes_the_reply_that_was_meant_for_it(relay: Relay) -> None:
    async with connected(relay.url) as connection:
        relay.hold_replies()
        first = asyncio.create_task(echo(connection, "first", writes=True))
        second = asyncio.create_task(echo(connection, "second", writes=True))
        await sent(relay, first, second)
        first.cancel()
        relay.release()
        assert await second == "second"
        assert first.cancelled()


async def test_a_waiter_who_gives_up_before_anything_is_sent_still_takes_its_reply(relay: Relay) -> None:
    async with connected(relay.url) as connection:
        first = asyncio.create_task(echo(connection, "first"))
        second = asyncio.create_task(echo(connection, "second"))
        await asyncio.sleep(0)  # Both have queued their command; it leaves with the next round of the loop.
        first.cancel()
        assert await second == "second"


async def test_a_connection_that_breaks_fails_everyone_on_it_and_the_next_call_connects_anew(relay: Relay) -> None:
    async with connected(relay.url) as connection:
        relay.hold_replies()
        reads = [asyncio.create_task(echo(connection, f"read {number}")) for number in range(5)]
        writes = [asyncio.create_task(echo(connection, f"write {number}", writes=True)) for number in range(5)]
        await sent(relay, *reads, *writes)
        relay.cut()
        for read in reads:
            with pytest.raises(StoreUnavailableError, match="broke"):
                await read
        for write in writes:
            with pytest.raises(OutcomeUnknownError, match="broke"):
                await write
        relay.release()
        assert await echo(connection, "again", writes=True) == "again"


async def test_the_replies_that_came_before_a_connection_broke_are_not_lost(relay: Relay) -> None:
    async with connected(relay.url) as connection:
        relay.hold_replies()
        packed = b"".join(pack(("ECHO", word)) for word in "abc")
        before = relay.request_bytes
        call = asyncio.create_task(connection.collect(packed, 3, writes=True))
        await wait_until(lambda: relay.request_bytes > before)
        relay.send_to_clients(b"$1\r\na\r\n$1\r\nb\r\nwhat is this?\r\n")
        replies, fault = await call
        assert replies == [b"a", b"b"]
        assert isinstance(fault, OutcomeUnknownError)


async def test_many_replies_may_take_longer_than_one_as_long_as_some_come(relay: Relay) -> None:
    async with connected(relay.url, 1.0) as connection:
        relay.hold_replies()
        packed = b"".join(pack(("ECHO", word)) for word in "abc")
        call = asyncio.create_task(connection.collect(packed, 3, writes=True))
        for word in (b"a", b"b", b"c"):
            await asyncio.sleep(0.4)
            relay.send_to_clients(b"$1\r\n%s\r\n" % word)
        assert await call == ([b"a", b"b", b"c"], None)


async def test_replies_that_stop_coming_are_not_waited_for(relay: Relay) -> None:
    async with connected(relay.url, 0.3) as connection:
        relay.hold_replies()
        packed = b"".join(pack(("ECHO", word)) for word in "abc")
        before = relay.request_bytes
        call = asyncio.create_task(connection.collect(packed, 3, writes=True))
        await wait_until(lambda: relay.request_bytes > before)
        relay.send_to_clients(b"$1\r\na\r\n")
        replies, fault = await call
        assert (replies, type(fault)) == ([b"a"], OutcomeUnknownError)
        relay.release()
        await wait_until(lambda: relay.connections == 0)
        assert await connection.collect(pack(("ECHO", "d")), 1, writes=True) == ([b"d"], None)


async def test_many_replies_whose_caller_gives_up_are_taken_by_nobody_else(relay: Relay) -> None:
    async with connected(relay.url) as connection:
        relay.hold_replies()
        packed = b"".join(pack(("ECHO", word)) for word in "abc")
        before = relay.request_bytes
        call = asyncio.create_task(connection.collect(packed, 3, writes=True))
        await wait_until(lambda: relay.request_bytes > before)
        call.cancel()
        after = asyncio.create_task(echo(connection, "after"))
        relay.release()
        assert await after == "after"
        assert call.cancelled()


async def test_a_write_that_was_not_sent_yet_is_known_not_to_have_happened(redis: RedisServer) -> None:
    async with connected(redis.url) as connection:
        write = asyncio.create_task(echo(connection, "unsent", writes=True))
        await asyncio.sleep(0)  # It has queued its command; it would leave with the next round of the loop.
        connection.close()
        with pytest.raises(StoreUnavailableError):
            await write


async def test_a_timeout_fails_everyone_who_waits_and_closes_the_connection(relay: Relay) -> None:
    async with connected(relay.url, 0.3) as connection:
        relay.hold_replies()
        write = asyncio.create_task(echo(connection, "write", writes=True))
        read = asyncio.create_task(echo(connection, "read"))
        await sent(relay, write, read)
        await asyncio.sleep(0.15)
        later = asyncio.create_task(echo(connection, "later", writes=True))
        with pytest.raises(OutcomeUnknownError):
            await write
        with pytest.raises(StoreUnavailableError):
            await read
        with pytest.raises(OutcomeUnknownError):
            await later
        relay.release()
        await wait_until(lambda: relay.connections == 0)
        assert await echo(connection, "again") == "again"


async def test_a_reply_that_comes_after_the_timeout_reaches_nobody(relay: Relay) -> None:
    async with connected(relay.url, 0.3) as connection:
        for number in range(5):
            relay.hold_replies()
            with pytest.raises(StoreUnavailableError):
                await echo(connection, f"late {number}")
            relay.release()
            assert await echo(connection, f"own {number}") == f"own {number}"


async def test_a_connection_closed_while_idle_fails_no_call(relay: Relay) -> None:
    async with connected(relay.url) as connection:
        for _ in range(20):
            relay.cut()
            await wait_until(lambda: relay.connections == 0)
            assert await echo(connection, "again", writes=True) == "again"


async def test_a_store_that_is_not_there_has_written_nothing() -> None:
    connection = PipelinedConnection(StoreAddress.from_url(f"redis://127.0.0.1:{free_port()}"), 1.0)
    results = await asyncio.gather(
        *(echo(connection, str(number), writes=True) for number in range(10)), return_exceptions=True
    )
    assert [type(result) for result in results] == [UnreachableError] * 10


async def test_a_store_that_accepts_but_does_not_answer_has_written_nothing(relay: Relay) -> None:
    relay.hold_replies()
    connection = PipelinedConnection(StoreAddress.from_url(f"{relay.url}/1"), 0.2)
    with pytest.raises(StoreUnavailableError):
        await echo(connection, "word", writes=True)
    await wait_until(lambda: relay.connections == 0)


async def test_a_caller_who_gives_up_while_it_connects_leaves_the_connection_to_the_others(relay: Relay) -> None:
    relay.hold_replies()
    connection = PipelinedConnection(StoreAddress.from_url(f"{relay.url}/1"), MAX_WAIT_SECONDS)
    first = asyncio.create_task(echo(connection, "first"))
    second = asyncio.create_task(echo(connection, "second"))
    await sent(relay, first, second)
    first.cancel()
    relay.release()
    assert await second == "second"
    assert relay.connections == 1
    connection.close()


@pytest.mark.parametrize("words", [b"+not asked for\r\n", b"what is this?\r\n"])
async def test_a_store_that_sends_an_unsolicited_reply_is_disconnected(relay: Relay, words: bytes) -> None:
    async with connected(relay.url) as connection:
        relay.send_to_clients(words)
        await wait_until(lambda: relay.connections == 0)
        assert await echo(connection, "again", writes=True) == "again"


async def test_an_error_among_replies_is_the_value_of_its_own_command(redis: RedisServer) -> None:
    async with connected(redis.url) as connection:
        wrong, right = await asyncio.gather(
            connection.execute(pack(("NO-SUCH-COMMAND",)) + pack(("ECHO", "a")), 2, writes=False),
            connection.execute(pack(("ECHO", "b")), 1, writes=False),
        )
        assert isinstance(wrong[0], hiredis.ReplyError)
        assert (wrong[1], right) == (b"a", [b"b"])


async def test_calls_of_one_moment_share_one_connection_also_after_it_broke(relay: Relay) -> None:
    async with connected(relay.url) as connection:
        for _ in range(5):
            relay.cut()
            await wait_until(lambda: relay.connections == 0)
            words = [unique("word") for _ in range(50)]
            assert await asyncio.gather(*(echo(connection, word) for word in words)) == words
            assert relay.connections == 1


async def test_nobody_waits_for_ever_when_canuse_stops(relay: Relay) -> None:
    async with connected(relay.url) as connection:
        relay.hold_replies()
        calls = [asyncio.create_task(echo(connection, "word")) for _ in range(3)]
        await sent(relay, *calls)
        connection.close()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(result) for result in results] == ["canuse is stopping"] * 3
        assert all(isinstance(result, StoreUnavailableError) for result in results)


async def test_a_call_whose_time_is_over_is_not_sent(relay: Relay) -> None:
    async with connected(relay.url) as connection:
        assert await echo(connection, "before") == "before"
        before = relay.request_bytes
        begin_call(CallState(StoreDeadline(0.0, sliding=False)))
        with pytest.raises(StoreUnavailableError):
            await connection.execute(pack(("ECHO", "late")), 1, writes=True)
        assert (await connection.collect(pack(("ECHO", "late")), 1, writes=True))[0] == []
    assert relay.request_bytes == before


async def test_a_call_in_a_hurry_gives_up_alone(relay: Relay) -> None:
    async def hurried() -> object:
        begin_call(CallState(StoreDeadline(0.05, sliding=False)))
        return await connection.execute(pack(("ECHO", "hurried")), 1, writes=True)

    async with connected(relay.url) as connection:
        await echo(connection, "before")
        relay.hold_replies()
        patient = asyncio.create_task(echo(connection, "patient"))
        with pytest.raises(OutcomeUnknownError):
            await asyncio.create_task(hurried())
        relay.release()
        assert await patient == "patient"
