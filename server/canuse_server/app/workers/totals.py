"""Health and metrics of a server with several workers: its supervisor asks them at each scrape, and adds up."""

import asyncio
from contextlib import AsyncExitStack

from canuse_server.api.environment import Environments
from canuse_server.app.operations import port
from canuse_server.app.workers.reports import METRICS
from canuse_server.app.workers.supervisor import Workers
from canuse_server.metrics.census import Census
from canuse_server.metrics.collector import Sources, exposition
from canuse_server.metrics.merge import WorkerMetrics
from canuse_server.runtime import background
from canuse_server.settings import Settings
from canuse_server.store.trimming.trimmer import Trimmer
from canuse_server.transport.shutdown import Deadline


async def open_port(
    settings: Settings, environments: Environments, workers: Workers, trimmer: Trimmer, stack: AsyncExitStack
) -> str | None:
    """Open the port for operations, if there is to be one; return its URL.

    Raises:
        ListenError: it can't be opened, and somebody chose it.
    """
    census = Census((environments.live, environments.test))
    own, totals = Sources(census=census, trimmer=trimmer), WorkerMetrics(settings.metrics_features)
    one_at_a_time = asyncio.Lock()

    async def metrics() -> bytes:
        # An earlier answer of a worker must not replace a later one.
        async with one_at_a_time:
            answers = await workers.ask(METRICS)
            return await asyncio.to_thread(lambda: totals.merged(answers, exposition(own)))

    opened = await port.open_port(settings, workers.are_ready, metrics)
    if opened is None:
        return None
    stack.push_async_callback(opened.end, Deadline(0))
    counting = [asyncio.create_task(census.keep_counting())]
    stack.push_async_callback(background.cancel_all, counting)
    return opened.address
