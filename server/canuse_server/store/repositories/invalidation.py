"""Refreshing caches when the store changes."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from canuse_server.runtime.throttle import Throttle
from canuse_server.store.redis.client import Store

log = structlog.get_logger(__name__)

LOG_INTERVAL_SECONDS = 5.0
"""Minimum time between two log_throttle that a cache may be out of date."""


def keep_fresh(
    store: Store, channel: str, refresh: Callable[[], Awaitable[None]], poll_seconds: float, subject: str
) -> tuple[Coroutine[Any, Any, None], ...]:
    """Return two tasks: one refreshes every `poll_seconds`, the other one when a message arrives on `channel`.

    Each runs until it is cancelled, even if the other one fails: without messages, polling still works. `subject` names
    the cached data in the log.
    """
    log_throttle = Throttle(LOG_INTERVAL_SECONDS)

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

    async def run_forever(work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - whatever fails, refreshing has to continue
                if log_throttle.try_acquire() is not None:
                    log.warning(f"{subject} may be out of date", cause=f"{type(error).__name__}: {error}")
                await asyncio.sleep(poll_seconds)

    return run_forever(poll), run_forever(listen)
