"""Changes that are tried again where others were quicker: how often, and how long to wait in between."""

import asyncio
import random
from typing import Final

from canuse_server.store.errors import StoreUnavailableError

MAX_ATTEMPTS: Final = 50
"""How often a change is tried while others change the same thing."""


async def wait_after(attempt: int) -> None:
    """Let others come to an end, the longer the more attempts there were."""
    await asyncio.sleep(random.uniform(0, 0.001 * min(attempt, 20)))  # noqa: S311 - spreads writers, no secret


def conflict_retries_exhausted(what: str) -> StoreUnavailableError:
    """Return the error for a change that others were quicker than in every attempt."""
    return StoreUnavailableError(f"{MAX_ATTEMPTS} changes of {what} by others came in between")
