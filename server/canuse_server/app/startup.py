"""Startup: wait for the store, check it, and prepare it. A reset: empty it, and start anew."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from canuse_server.api.environment import Environments
from canuse_server.auth.access import Access
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.store.keys import CLOCK, EVENT_KEY, SCHEMA
from canuse_server.store.preflight.durability import check_durability
from canuse_server.store.preflight.schema import VERSION, check_schema, check_version
from canuse_server.store.redis.replies import ACCESS_ERRORS

log = structlog.get_logger(__name__)

RETRY_INTERVAL_SECONDS: Final = 0.25
"""Interval between attempts."""
LOG_INTERVAL_SECONDS: Final = 10.0
"""Interval at which the unavailable store is logged."""


async def prepare_store(
    environments: Environments,
    prepare: Callable[[], Awaitable[None]],
    access: Access,
    *,
    first: bool,
    answer: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Wait for the store, check that canuse supports it, prepare it, and open access to it.

    `first`: this process initializes an empty store and logs its risks. A worker does not: it may be restarted at any
    time, and then an empty store has lost its data.

    `answer` starts to answer calls: once the store is prepared, or as soon as it turns out to be unavailable. Before,
    callers who reconnect during a rolling restart would be told that it is unavailable, and would not retry.

    Raises:
        SchemaError: the store is too old, lacks the promised durability, or has data of another schema.
        StoreUnavailableError: the store refuses access to this server, so waiting does not help.
    """
    loop = asyncio.get_running_loop()
    started_at, logged_at = loop.time(), None
    while True:
        try:
            await _open(environments, prepare, access, first=first)
            break
        except (StoreUnavailableError, OutcomeUnknownError) as error:
            if any(word in str(error) for word in ACCESS_ERRORS):
                raise
            if logged_at is None or loop.time() - logged_at >= LOG_INTERVAL_SECONDS:
                logged_at = loop.time()
                log.warning("waiting for the store", cause=str(error), seconds=round(logged_at - started_at, 1))
        if answer is not None:
            await answer()
            answer = None
        await asyncio.sleep(RETRY_INTERVAL_SECONDS)
    if answer is not None:
        await answer()
    if logged_at is not None:
        log.info("the store is available", seconds=round(loop.time() - started_at, 1))


async def _open(
    environments: Environments, prepare: Callable[[], Awaitable[None]], access: Access, *, first: bool
) -> None:
    store = environments.live.store
    await check_version(store)
    await check_durability(store, warn=first)
    await check_schema(store, create=first)
    await store.load_scripts()
    await prepare()
    await environments.refresh()
    # Last: until then the authorizer refuses all calls.
    await access.open()
    store.guard.is_on = True


async def reset_store(environments: Environments, access: Access, time_ms: int) -> None:
    """Delete all data, set the manual clock, and forget what is cached. Only for a store that nobody else uses.

    Raises:
        StoreError: the store is unavailable.
    """
    store = environments.live.store
    # In one step: a store without a schema would be taken for one that has lost its data.
    await store.call(
        ("MULTI",),
        ("FLUSHALL",),
        ("SET", SCHEMA, VERSION),
        ("SET", EVENT_KEY, store.event_key.key),
        ("SET", CLOCK, str(time_ms)),
        ("EXEC",),
    )
    store.manual_now_ms = time_ms
    for environment in (environments.live, environments.test):
        environment.last_known.clear()
    await environments.refresh()
    await access.key_cache.forget()
    await access.open()
