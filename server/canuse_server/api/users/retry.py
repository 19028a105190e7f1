"""The optimistic loop: a change is repeated when a concurrent change of the same data came first."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from canuse_server.store.errors import ConflictError, StoreUnavailableError

MAX_ATTEMPTS: Final = 50
_MAX_WAIT_SECONDS: Final = 0.02

_Result = TypeVar("_Result")


async def retry_on_conflict(change: Callable[[], Awaitable[_Result]], subject: str) -> _Result:
    """Return what `change` returns; call it again when it raises ConflictError, after a short random wait.

    `change` has to read anew each time. `subject` names what is changed, for the log.

    Raises:
        StoreUnavailableError: every attempt ended in a conflict; nothing was written.
    """
    for attempt in range(MAX_ATTEMPTS):
        try:
            return await change()
        except ConflictError:
            wait_seconds = min(0.001 * attempt, _MAX_WAIT_SECONDS)
            await asyncio.sleep(random.uniform(0, wait_seconds))  # noqa: S311 - spreads writers, no secret
    raise StoreUnavailableError(f"{subject}: other changes came first in each of {MAX_ATTEMPTS} attempts")
