"""From a port that is open to a server that answers: the store is waited for, looked at, and made ready."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from canuse_server.api.environment import Environments
from canuse_server.auth.access import Access
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.store.preflight.durability import check_durability
from canuse_server.store.preflight.schema import check_schema, check_version
from canuse_server.store.redis.replies import FORBIDDING

log = structlog.get_logger(__name__)

RETRY_INTERVAL_SECONDS: Final = 0.25
"""How long after one attempt the next one is made."""
LOG_INTERVAL_SECONDS: Final = 10.0
"""How often it is logged that the store is still unavailable."""


async def prepare_store(
    environments: Environments, prepare: Callable[[], Awaitable[None]], access: Access, *, first: bool
) -> None:
    """Wait for the store, see whether it is one that canuse can work with, prepare it, and let calls through to it.

    `first`: this is the process that makes an empty store ready, and says what of it may lose counts. A worker is not:
    it may be started anew at any time, and then a store that is empty has lost its data.

    Raises:
        SchemaError: it is too old, can't keep what is promised, or holds data of another layout.
        StoreUnavailableError: it does not let this server in, and waiting will not help.
    """
    loop = asyncio.get_running_loop()
    since, logged_at = loop.time(), None
    while True:
        try:
            await _open(environments, prepare, access, first=first)
            break
        except (StoreUnavailableError, OutcomeUnknownError) as error:
            if any(word in str(error) for word in FORBIDDING):
                raise
            if logged_at is None or loop.time() - logged_at >= LOG_INTERVAL_SECONDS:
                logged_at = loop.time()
                log.warning("waiting for the store", cause=str(error), seconds=round(logged_at - since, 1))
        await asyncio.sleep(RETRY_INTERVAL_SECONDS)
    if logged_at is not None:
        log.info("the store is available", seconds=round(loop.time() - since, 1))


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
    # Last: before that the authorizer lets nobody pass.
    await access.open()
    store.guard.is_on = True
