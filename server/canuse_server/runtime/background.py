"""Background tasks, which run until the server stops."""

import asyncio
from collections.abc import Sequence
from typing import Final

CANCEL_INTERVAL_SECONDS: Final = 0.1
"""Interval at which a task is cancelled again until it ends."""


async def cancel_all(tasks: "Sequence[asyncio.Task[None]]") -> None:
    """Cancel tasks and wait until all have ended."""
    # Repeatedly: redis-py loses a cancellation that arrives while it connects.
    while waiting := [task for task in tasks if not task.done()]:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=CANCEL_INTERVAL_SECONDS)
