"""Batches: one pipeline to the store for all calls, and the true outcome of each of them when it fails."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest
from redis import Redis

from canuse import InvalidArgument, OutcomeUnknown, StoreUnavailable, v1
from canuse_server.store.repositories.catalog_cache import POLL_INTERVAL_SECONDS
from canuse_server.store.repositories.use_batches import MAX_USES
from canuse_server.store.scripts.loader import RECORD_BATCH, RECORD_USAGE
from support.load import running, used, wait_until
from support.message_clients import AsyncClient, Client
from support.processes import Canuse, RedisServer, free_port
from support.relay import Relay, server_behind_relay
from support.resources import subscriber
from support.tools import VALKEY_SERVER

MAX_WAIT_SECONDS = 30


class RelayedServer:
    """A server with a relay between it and its store."""

    def __init__(self, canuse: Canuse, relay: Relay, redis: RedisServer) -> None:
        self.canuse = canuse
        self.relay = relay
        self.redis = redis

    def calls(self, command: str) -> int:
        """Return how often the store has run a command, read without the relay."""
        return self.redis.calls(command)

    async def subscriber(self) -> tuple[str, str]:
        """Create a user with an unlimited feature; return the ids of both."""
        return await asyncio.to_thread(self._subscriber)

    def _subscriber(self) -> tuple[str, str]:
        with Client(self.canuse.address) as client:
            return subscriber(client, None)

    async def used(self, user_id: str, feature_id: str) -> int:
        """Return a user's count."""

        def read() -> int:
            with Client(self.canuse.address) as client:
                return used(client, user_id, feature_id)

        return await asyncio.to_thread(read)


@pytest.fixture
async def relayed(transport: str, redis: RedisServer, tmp_path: Path) -> AsyncIterator[RelayedServer]:
    env = {"CANUSE_STORE_TIMEOUT_SECONDS": str(MAX_WAIT_SECONDS)}
    async with server_behind_relay(transport, tmp_path, redis, **env) as (canuse, relay):
        yield RelayedServer(canuse, relay, redis)


@pytest.fixture
async def client(relayed: RelayedServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(relayed.canuse.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
        yield client


def reason_of(result: object) -> "v1.Reason.ValueType":
    assert isinstance(result, v1.CanUseResponse), result
    return result.reason


async def settled(count: Callable[[], int]) -> int:
    """Return a count once it has stopped changing: the store may execute commands up to a second later."""
    before, now = -1, count()
    while before != now:
        await asyncio.sleep(POLL_INTERVAL_SECONDS + 0.5)
        before, now = now, count()
    return now


async def test_the_store_has_run_1000_checks_before_it_has_answered_one(
    relayed: RelayedServer, client: AsyncClient
) -> None:
    users = [await relayed.subscriber() for _ in range(10)]
    requests = [
        v1.CanUseRequest(user_id=user_id, feature_id=feature_id, delta=delta)
        for delta in range(1, 101)
        for user_id, feature_id in users
    ]
    before = await settled(lambda: relayed.calls("hmget"))
    relayed.relay.hold_replies()
    batch = asyncio.create_task(client.batch_can_use(requests))
    await wait_until(lambda: relayed.calls("hmget") == before + len(users))
    relayed.relay.release()
    answers = await batch
    assert len(answers) == 1000
    assert all(isinstance(answer, v1.CanUseResponse) and answer.access for answer in answers)
    assert relayed.calls("hmget") == before + len(users)


async def test_the_store_has_recorded_1000_uses_before_it_has_answered_one(
    relayed: RelayedServer, client: AsyncClient
) -> None:
    users = [await relayed.subscriber() for _ in range(3)]
    requests = [
        v1.CreateUsageEventRequest(user_id=users[number % 3][0], feature_id=users[number % 3][1])
        for number in range(1000)
    ]
    scripts = sum(math.ceil(count / MAX_USES) for count in (334, 333, 333))
    before = relayed.calls("evalsha")
    relayed.relay.hold_replies()
    batch = asyncio.create_task(client.batch_create_usage_events(requests))
    await wait_until(lambda: relayed.calls("evalsha") == before + scripts)
    relayed.relay.release()
    assert all(isinstance(answer, v1.CreateUsageEventResponse) and answer.recorded for answer in await batch)
    assert relayed.calls("evalsha") == before + scripts
    assert [await relayed.used(*user) for user in users] == [334, 333, 333]


async def test_calls_without_a_reply_each_get_a_true_outcome_and_can_be_repeated(
    relayed: RelayedServer, client: AsyncClient
) -> None:
    user_id, feature_id = await relayed.subscriber()
    uses = [
        v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, event_id=f"event-{number}")
        for number in range(100)
    ]
    checks = [v1.CanUseRequest(user_id=user_id, feature_id=feature_id)] * 100
    before = await settled(lambda: relayed.calls("hmget"))
    relayed.relay.hold_replies()
    calls = asyncio.gather(client.batch_create_usage_events(uses), client.batch_can_use(checks))
    # The script reads what a check reads: once for the user's uses, as the same checks do.
    await wait_until(lambda: relayed.calls("hmget") == before + math.ceil(100 / MAX_USES) + 1)
    relayed.relay.cut()
    relayed.relay.release()
    recorded, answers = await calls
    assert {type(result) for result in recorded} == {OutcomeUnknown}
    assert {reason_of(result) for result in answers} == {v1.REASON_STORE_UNAVAILABLE}
    again = await client.batch_create_usage_events(uses)
    assert all(isinstance(result, v1.CreateUsageEventResponse) and result.replayed for result in again)
    assert await relayed.used(user_id, feature_id) == 100


async def test_a_script_that_the_store_has_forgotten_is_back_before_the_first_use(
    relayed: RelayedServer, client: AsyncClient
) -> None:
    # If it were loaded again within a batch, later uses would overtake earlier ones.
    user_id, feature_id = await relayed.subscriber()
    uses = [v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, delta=delta) for delta in (1, 2, 3)]
    assert relayed.redis.command("SCRIPT", "FLUSH") == b"+OK\r\n"
    before = relayed.calls("evalsha")
    results = await client.batch_create_usage_events(uses)
    totals = [result.consumption.used for result in results if isinstance(result, v1.CreateUsageEventResponse)]
    assert totals == [1, 3, 6]
    assert relayed.calls("evalsha") == before + 1


def test_uses_of_a_user_keep_their_order_while_the_store_forgets_and_learns_the_script(
    transport: str, tmp_path: Path
) -> None:
    """A use that found the script missing was executed after those behind it, which found it loaded again."""
    store = RedisServer(VALKEY_SERVER, tmp_path / "valkey").start()
    server = Canuse(tmp_path, "--transport", transport, "--redis-url", store.url)
    over = Event()

    def forget_and_learn() -> None:
        with Redis(port=store.port) as admin:
            while not over.is_set():
                admin.script_flush()
                admin.script_load(RECORD_BATCH.source)
                admin.script_load(RECORD_USAGE.source)

    with ExitStack() as stack:
        stack.callback(store.stop)
        stack.enter_context(running(server))
        client = stack.enter_context(Client(server.address, timeout_seconds=MAX_WAIT_SECONDS))
        user_id, feature_id = subscriber(client, None)
        with ThreadPoolExecutor(1) as thread, ExitStack() as flapping:
            forgetting = thread.submit(forget_and_learn)
            flapping.callback(over.set)
            for first in (1, 1001):
                requests = [
                    v1.CreateUsageEventRequest(
                        user_id=user_id, feature_id=feature_id, delta=total, action=v1.USAGE_ACTION_SET
                    )
                    for total in range(first, first + 1000)
                ]
                answers = client.batch_create_usage_events(requests)
                assert {type(answer) for answer in answers} == {v1.CreateUsageEventResponse}
        forgetting.result()
        assert [event.delta for event in client.list_usage_events(user_id)] == list(range(2000, 0, -1))


def test_batches_work_on_a_cluster_of_one_node_that_is_used_as_a_single_server(
    transport: str, store_program: str, tmp_path: Path
) -> None:
    """Uses of several users are sent together to a single server. A node of a Cluster refuses that."""
    store = RedisServer(
        store_program, tmp_path / "node", ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    )
    with ExitStack() as stack:
        stack.callback(store.stop)
        assert store.start().command("CLUSTER", "ADDSLOTSRANGE", "0", "16383") == b"+OK\r\n"
        server = Canuse(tmp_path, "--transport", transport, "--redis-url", store.url)
        stack.enter_context(running(server))
        client = stack.enter_context(Client(server.address))
        users = [subscriber(client, None) for _ in range(5)]
        requests = [
            v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id, event_id=event_id)
            for event_id in ("a", "b", "a")
            for user_id, feature_id in users
        ]
        for replayed in (False, True):
            results = client.batch_create_usage_events(requests)
            answers = [result for result in results if isinstance(result, v1.CreateUsageEventResponse)]
            assert [answer.replayed for answer in answers] == [replayed] * 10 + [True] * 5
        assert [used(client, *user) for user in users] == [2] * 5


def test_while_the_store_is_unavailable_every_call_of_a_batch_says_so(
    transport: str, store_program: str, tmp_path: Path
) -> None:
    redis = RedisServer(store_program, tmp_path / "redis").start()
    server = Canuse(tmp_path, "--transport", transport, "--redis-url", redis.url)
    try:
        with running(server), Client(server.address) as client:
            user_id, feature_id = subscriber(client, None)
            redis.kill()
            checks = [v1.CanUseRequest(user_id=user_id, feature_id=feature_id), v1.CanUseRequest()]
            answer, failure = client.batch_can_use(checks)
            assert reason_of(answer) == v1.REASON_STORE_UNAVAILABLE
            assert type(failure) is InvalidArgument
            uses = [v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id)] * 3
            assert [type(result) for result in client.batch_create_usage_events(uses)] == [StoreUnavailable] * 3
            redis.start()
            assert used(client, user_id, feature_id) == 0
    finally:
        redis.stop()
    assert not server.failed_unexpectedly()
