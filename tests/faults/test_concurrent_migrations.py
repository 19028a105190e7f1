"""Four migrations run at a time in a process; a further one is refused with the time to retry after."""

import asyncio
from pathlib import Path

from canuse import AsyncClient, Overloaded, v1
from support.load import MAX_WAIT_SECONDS
from support.processes import RedisServer
from support.relay import server_behind_relay
from support.resources import unique

MAX_CONCURRENT = 4


async def test_the_fifth_migration_is_refused_and_those_that_end_make_room(
    transport: str, redis: RedisServer, tmp_path: Path
) -> None:
    """There was no bound, and each migration loaded the store and the processor."""
    async with (
        server_behind_relay(transport, tmp_path, redis, CANUSE_STORE_TIMEOUT_SECONDS="60") as (canuse, relay),
        AsyncClient(canuse.address, timeout_seconds=MAX_WAIT_SECONDS) as client,
    ):
        package_id = unique("package")
        await client.create_package(package_id, [])
        await client.publish_package(package_id)

        async def migrate() -> v1.MigrateSubscriptionsResponse:
            return [message async for message in client.migrate_subscriptions(package_id, dry_run=True)][-1]

        relay.hold_replies()
        calls = [asyncio.create_task(migrate()) for _ in range(MAX_CONCURRENT + 2)]
        refused: set[asyncio.Task[v1.MigrateSubscriptionsResponse]] = set()
        while len(refused) < 2:
            done, _ = await asyncio.wait(set(calls) - refused, return_when=asyncio.FIRST_COMPLETED)
            refused |= done
        for call in refused:
            error = call.exception()
            assert isinstance(error, Overloaded)
            assert (error.reason, error.retry_after_seconds) == ("OVERLOADED", 5)
        relay.release()
        ended = await asyncio.gather(*(call for call in calls if call not in refused))
        assert [message.done for message in ended] == [True] * MAX_CONCURRENT
        assert (await migrate()).done


async def test_callers_who_leave_make_room(transport: str, redis: RedisServer, tmp_path: Path) -> None:
    async with (
        server_behind_relay(transport, tmp_path, redis, CANUSE_STORE_TIMEOUT_SECONDS="60") as (canuse, relay),
        AsyncClient(canuse.address, timeout_seconds=MAX_WAIT_SECONDS) as client,
    ):
        package_id = unique("package")
        await client.create_package(package_id, [])
        await client.publish_package(package_id)

        async def migrate() -> list[v1.MigrateSubscriptionsResponse]:
            return [message async for message in client.migrate_subscriptions(package_id, dry_run=True)]

        relay.hold_replies()
        for _ in range(3):
            calls = [asyncio.create_task(migrate()) for _ in range(MAX_CONCURRENT + 1)]
            done, pending = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            assert all(isinstance(call.exception(), Overloaded) for call in done)
            for call in pending:
                call.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        relay.release()
        async with asyncio.timeout(MAX_WAIT_SECONDS):
            while True:
                try:
                    assert (await migrate())[-1].done
                except Overloaded:
                    await asyncio.sleep(0.05)
                else:
                    break
