"""A server in the process of the test, for what cannot be seen from outside it."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from canuse_server.api.dispatch import Observer
from canuse_server.app.ready import Ready
from canuse_server.app.wiring import serve_in_process
from canuse_server.settings import Settings


@asynccontextmanager
async def served_in_process(
    transport: str, url: str, *, observer: Observer | None = None, **more: str
) -> AsyncIterator[Ready]:
    """Serve on the event loop of the test, with more settings."""
    stop, ready = asyncio.Event(), asyncio.Queue[Ready]()
    threshold, switch_seconds = gc.get_threshold(), sys.getswitchinterval()
    given = {"redis_url": url, "transport": transport, "listen": "127.0.0.1:0", "store_timeout_seconds": 20, **more}
    serving = serve_in_process(Settings.load(None, given), ready.put_nowait, stop, observer=observer)
    task = asyncio.create_task(serving)
    try:
        yield await asyncio.wait_for(ready.get(), 30)
    finally:
        stop.set()
        await task
        gc.set_threshold(*threshold)
        sys.setswitchinterval(switch_seconds)
        gc.unfreeze()
