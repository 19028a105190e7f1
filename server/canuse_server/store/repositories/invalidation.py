"""Keeping what is in memory as it is in the store."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from canuse_server.runtime.throttle import Throttle
from canuse_server.store.redis.client import Store

log = structlog.get_logger(__name__)

LOG_INTERVAL_SECONDS = 5.0
"""How often the log tells that something may be out of date."""


def keep_fresh(
    store: Store, channel: str, refresh: Callable[[], Awaitable[None]], poll_seconds: float, what: str
) -> tuple[Coroutine[Any, Any, None], ...]:
    """Return what refreshes every `poll_seconds`, and what refreshes at once when a message comes.

    Each goes on until it is cancelled, whatever becomes of the other: where no messages can be had, asking still tells.
    `what` is it that may be out of date, for the log.
    """
    faults = Throttle(LOG_INTERVAL_SECONDS)

    async def poll() -> None:
        while True:
            await refresh()
            await asyncio.sleep(poll_seconds)

    async def listen() -> None:
        async with store.messages() as messages:
            await messages.subscribe(channel)
            while True:
                if await messages.get_message(ignore_subscribe_messages=True, timeout=poll_seconds):
                    await refresh()

    async def go_on(work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - whatever it is, following has to go on
                if faults.let_through() is not None:
                    log.warning(f"{what} may be out of date", cause=f"{type(error).__name__}: {error}")
                await asyncio.sleep(poll_seconds)

    return go_on(poll), go_on(listen)
