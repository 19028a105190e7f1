"""DeleteUser that is interrupted, with a default package: repeated, it leaves nothing wrong."""

import asyncio
from pathlib import Path

import pytest

from canuse import NotFound, OutcomeUnknown, v1
from support.load import MAX_WAIT_SECONDS
from support.message_clients import AsyncClient
from support.processes import RedisServer
from support.relay import server_behind_relay
from support.resources import unique

BEFORE, LATER = 7, 3


@pytest.mark.parametrize("lost", [b"XDEL", b"EVALSHA"])
@pytest.mark.parametrize("comes_again", [True, False])
async def test_what_is_used_after_an_erasure_that_was_repeated_is_all_that_is_listed(
    lost: bytes, comes_again: bool, transport: str, redis: RedisServer, tmp_path: Path
) -> None:
    package_id, user_id, feature_id = unique("package"), unique("user"), unique("feature")
    async with (
        server_behind_relay(transport, tmp_path, redis, CANUSE_DEFAULT_PACKAGE=package_id) as (canuse, relay),
        AsyncClient(canuse.address, timeout_seconds=MAX_WAIT_SECONDS) as client,
    ):
        await client.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
        await client.create_package(package_id, [v1.PackageFeature(feature_id=feature_id)])
        await client.publish_package(package_id)

        async def use(times: int) -> None:
            await asyncio.gather(*(client.create_usage_event(user_id, feature_id) for _ in range(times)))

        await use(BEFORE)
        relay.drop_reply_to(lost)
        with pytest.raises(OutcomeUnknown):
            await client.delete_user(user_id)
        assert relay.lost_replies == 1
        if comes_again:
            await use(LATER)
        try:
            await client.delete_user(user_id)
        except NotFound:
            assert not comes_again
            assert lost == b"EVALSHA"
        await use(LATER)
        events = [event async for event in client.list_usage_events(user_id)]
        answer = await client.can_use(user_id, feature_id)
    assert answer.consumption.used == len(events) == LATER
