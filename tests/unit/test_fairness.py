"""Pages with many items are built a few items at a time."""

import asyncio
import time

import pytest

from canuse_server.runtime.call_state import CallState, begin_call, current_store_deadline
from canuse_server.runtime.deadline import StoreDeadline
from canuse_server.runtime.fairness import WORK_SECONDS, PageScheduler, map_yielding

ITEMS = 40


def slowly(item: int) -> int:
    """Work for as long as a page may without a break."""
    until = time.monotonic() + WORK_SECONDS
    while time.monotonic() < until:
        continue
    return item


async def turns_of_the_loop(pages: int) -> int:
    """Build some pages concurrently, and return how many turns the event loop had in the meantime."""
    scheduler, loop_turns, pages_done = PageScheduler(), 0, 0

    async def make() -> None:
        nonlocal pages_done
        begin_call(CallState())
        async with scheduler.acquire():
            assert await map_yielding(range(ITEMS), slowly) == list(range(ITEMS))
        pages_done += 1

    async def count() -> None:
        nonlocal loop_turns
        while pages_done < pages:
            loop_turns += 1
            await asyncio.sleep(0)

    await asyncio.gather(count(), *(make() for _ in range(pages)))
    return loop_turns


async def test_others_have_a_turn_after_each_item_that_takes_long() -> None:
    assert await turns_of_the_loop(1) >= ITEMS


async def test_with_many_pages_others_have_as_many_turns_as_they_want() -> None:
    assert await turns_of_the_loop(3) > 3 * ITEMS * 5


def test_outside_of_pages_nothing_takes_breaks() -> None:
    with pytest.raises(StopIteration) as ended:
        map_yielding(range(ITEMS), slowly).send(None)
    assert ended.value.value == list(range(ITEMS))


async def test_to_wait_for_other_pages_is_not_to_wait_for_the_store() -> None:
    """Together they take longer than the store timeout, although the store answers at once."""
    pages = PageScheduler()

    async def page() -> None:
        begin_call(CallState(StoreDeadline(0.25, sliding=True)))
        async with pages.acquire():
            deadline = current_store_deadline(0.25)
            assert not deadline.has_passed()
            deadline.note_reply()
            await map_yielding(range(3 * ITEMS), slowly)
            assert not deadline.has_passed()

    await asyncio.gather(*(asyncio.create_task(page()) for _ in range(9)))
