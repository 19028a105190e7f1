"""A lease is reserved and settled once, also when the answer was lost and the call is repeated."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from canuse import OutcomeUnknown, StoreUnavailable
from support.load import running, wait_until
from support.message_clients import AsyncClient, Client
from support.processes import Canuse, RedisServer
from support.relay import Relay, server_behind_relay
from support.resources import subscriber

T = TypeVar("T")
MAX_WAIT_SECONDS = 30


class RelayedServer:
    """A server with a relay between it and its store, and a client."""

    def __init__(self, client: AsyncClient, relay: Relay, redis: RedisServer, names: tuple[str, str]) -> None:
        self.client = client
        self.user_id, self.feature_id = names
        self._relay = relay
        self._redis = redis

    async def lose_the_answer(self, call: Callable[[], Awaitable[T]]) -> None:
        """Make a call that the store executes and whose answer never arrives."""
        before = self._redis.calls("evalsha")
        self._relay.hold_replies()
        calling = asyncio.ensure_future(call())
        await wait_until(lambda: self._redis.calls("evalsha") > before)
        self._relay.cut()
        self._relay.release()
        with pytest.raises(OutcomeUnknown):
            await calling

    async def again(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat a call until the connection is back."""
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.02)

    async def counts(self) -> tuple[int, int]:
        """Return used and reserved."""
        counts = (await self.client.show_usage(self.user_id, self.feature_id)).current
        return counts.used, counts.reserved


@pytest.fixture
async def relayed(transport: str, redis: RedisServer, tmp_path: Path) -> AsyncIterator[RelayedServer]:
    env = {"CANUSE_STORE_TIMEOUT_SECONDS": str(MAX_WAIT_SECONDS)}
    async with server_behind_relay(transport, tmp_path, redis, **env) as (canuse, relay):
        names = await asyncio.to_thread(_subscriber, canuse.address)
        async with AsyncClient(canuse.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
            yield RelayedServer(client, relay, redis, names)


def _subscriber(address: str) -> tuple[str, str]:
    with Client(address) as client:
        return subscriber(client, 9)


async def test_a_call_that_is_repeated_after_its_answer_was_lost_has_one_effect(relayed: RelayedServer) -> None:
    async def reserve() -> tuple[str, int, bool]:
        answer = await relayed.client.reserve(relayed.user_id, relayed.feature_id, 4, event_id="r")
        return answer.lease_id, answer.granted, answer.replayed

    await relayed.lose_the_answer(reserve)
    lease_id, granted, replayed = await relayed.again(reserve)
    assert (granted, replayed) == (4, True)
    assert await relayed.counts() == (0, 4)

    async def settle() -> tuple[int, int, bool]:
        answer = await relayed.client.settle(lease_id, 3, event_id="s")
        return answer.consumption.used, answer.consumption.reserved, answer.replayed

    await relayed.lose_the_answer(settle)
    assert await relayed.again(settle) == (3, 0, True)
    assert await relayed.counts() == (3, 0)


def test_a_lease_outlives_the_server_and_its_store(embedded: Canuse) -> None:
    with running(embedded):
        with Client(embedded.address) as client:
            user_id, feature_id = subscriber(client, 5)
            lease = client.reserve(user_id, feature_id, 3, event_id="r")
        for end in (embedded.stop, embedded.kill):
            end()
            embedded.start()
            with Client(embedded.address) as client:
                assert client.can_use(user_id, feature_id).consumption.reserved == 3
                assert client.reserve(user_id, feature_id, 3, event_id="r").lease_id == lease.lease_id
        with Client(embedded.address) as client:
            settled = client.settle(lease.lease_id, 2)
            assert (settled.late, settled.consumption.used, settled.consumption.reserved) == (False, 2, 0)
