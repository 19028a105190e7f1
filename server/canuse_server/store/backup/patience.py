"""Repetition of what can be repeated while a store is unavailable for a moment, such as during a failover."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.store.redis.replies import ACCESS_ERRORS

T = TypeVar("T")

PATIENCE_SECONDS: Final = 60.0
"""How long a store may be unavailable."""
RETRY_INTERVAL_SECONDS: Final = 0.25


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Return the result of an attempt that can be repeated.

    Raises:
        StoreError: the store refuses it, or was unavailable for PATIENCE_SECONDS.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + PATIENCE_SECONDS
    while True:
        try:
            return await attempt()
        except (StoreUnavailableError, OutcomeUnknownError) as error:
            if clock() >= deadline or any(word in str(error) for word in ACCESS_ERRORS):
                raise
        await asyncio.sleep(RETRY_INTERVAL_SECONDS)
