"""Calls of one batch whose replies the store could not give: the client makes them again, and each counts once.

Guards: `client/canuse/_item_retries.py` for the batches of a caller, and `client/canuse/_async/batching.py` with the
retries of each call for `batching=True`.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import canuse
from canuse import v1
from canuse_server.store.repositories.use_batches import MAX_USES
from support.load import MAX_WAIT_SECONDS, used, wait_until
from support.message_clients import Client
from support.processes import RedisServer
from support.relay import server_behind_relay
from support.resources import subscriber

USES = 100


def uses_in_a_batch(client: canuse.AsyncClient, user_id: str, feature_id: str) -> Awaitable[Sequence[Any]]:
    return client.batch_use_feature([v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id, delta=1)] * USES)


def events_in_a_batch(client: canuse.AsyncClient, user_id: str, feature_id: str) -> Awaitable[Sequence[Any]]:
    return client.batch_create_usage_events([v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id)] * USES)


def calls_at_the_same_time(client: canuse.AsyncClient, user_id: str, feature_id: str) -> Awaitable[Sequence[Any]]:
    return asyncio.gather(*(client.use_feature(user_id, feature_id) for _ in range(USES)))


@pytest.mark.parametrize("call", [uses_in_a_batch, events_in_a_batch, calls_at_the_same_time])
async def test_uses_whose_outcome_is_unknown_are_sent_again_and_count_once(
    call: Callable[[canuse.AsyncClient, str, str], Awaitable[Sequence[Any]]], tmp_path: Path, redis: RedisServer
) -> None:
    # Of a batch, the results were OUTCOME_UNKNOWN, although the client repeats a single call.
    env = {"CANUSE_STORE_TIMEOUT_SECONDS": str(MAX_WAIT_SECONDS)}
    async with (
        server_behind_relay("native", tmp_path, redis, **env) as (server, relay),
        canuse.AsyncClient(server.address, batching=True, timeout_seconds=MAX_WAIT_SECONDS) as client,
    ):

        def prepare() -> tuple[str, str]:
            with Client(server.address) as setup:
                return subscriber(setup, None)

        def count() -> int:
            with Client(server.address) as reader:
                return used(reader, *user)

        user = await asyncio.to_thread(prepare)
        before = redis.calls("evalsha")
        relay.hold_replies()
        answers = asyncio.ensure_future(call(client, *user))
        await wait_until(lambda: redis.calls("evalsha") >= before + math.ceil(USES / MAX_USES))
        relay.cut()
        relay.release()
        found = await answers
        assert all(found), [each for each in found if not each]
        assert sum(each.replayed for each in found) >= USES // 2
        assert len({each.event_id for each in found}) == USES
        assert await asyncio.to_thread(count) == USES
