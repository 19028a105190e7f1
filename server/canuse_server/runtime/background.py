"""Work that goes on beside the calls, until the server ends."""

import asyncio
from collections.abc import Sequence
from typing import Final

CANCEL_SECONDS: Final = 0.1
"""How long after it was asked to end a task is asked again."""


async def end(tasks: "Sequence[asyncio.Task[None]]") -> None:
    """End tasks, and return when all have ended."""
    # Once is not enough: redis-py loses a cancellation that comes while it connects.
    while waiting := [task for task in tasks if not task.done()]:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=CANCEL_SECONDS)
