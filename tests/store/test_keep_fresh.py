"""The background refresh continues whatever happens, and ends when told to."""

import asyncio

from canuse_server.runtime.background import cancel_all
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.invalidation import keep_fresh
from support.load import wait_until


async def test_every_task_ends_when_asked_to_even_if_a_cancellation_is_lost(store: Store) -> None:
    """redis-py loses a cancellation while it connects. The task continued, and the server did not end."""
    began, lost = asyncio.Event(), 0

    async def refresh() -> None:
        nonlocal lost
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            lost += 1
            if lost > 1:
                raise

    before = asyncio.all_tasks()
    tasks = [asyncio.create_task(each) for each in keep_fresh(store, "channel", refresh, 0.05, "it")]
    await began.wait()
    await asyncio.wait_for(cancel_all(tasks), 30)
    assert lost
    assert asyncio.all_tasks() <= before


async def test_it_refreshes_by_itself_and_at_once_when_there_is_a_message(store: Store) -> None:
    refreshed = 0

    async def refresh() -> None:
        nonlocal refreshed
        refreshed += 1

    async def publish() -> bool:
        return bool(await store.admin.publish("channel", "news"))

    by_itself, by_message = keep_fresh(store, "channel", refresh, 0.05, "it")
    tasks = [asyncio.create_task(by_itself)]
    await wait_until(lambda: refreshed > 2)
    await cancel_all(tasks)
    refreshed, tasks = 0, [asyncio.create_task(by_message)]
    while not await publish():
        await asyncio.sleep(0.01)
    await wait_until(lambda: refreshed)
    await cancel_all(tasks)
