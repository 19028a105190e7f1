"""A server with worker processes: they share its ports, and this process its store."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

from canuse_server.app import http_port
from canuse_server.app.decisions.workers import WorkersDecisions
from canuse_server.app.folders import private_folder
from canuse_server.app.operations import metrics
from canuse_server.app.ports import ListenError
from canuse_server.app.ready import Ready
from canuse_server.app.startup import prepare_store
from canuse_server.app.stores import environments_of, open_store, prepare, trimmer_of
from canuse_server.app.workers.reports import DECISIONS, Reports, serve_reports
from canuse_server.app.workers.supervisor import ReservedPort, Workers
from canuse_server.auth.access import Access
from canuse_server.runtime import background
from canuse_server.settings import Settings
from canuse_server.transport import tls


async def serve_with_workers(settings: Settings, on_ready: Callable[[Ready], None], stop: asyncio.Event) -> None:
    """Serve in worker processes until `stop` is set, then drain them.

    Raises:
        ListenError, TlsError, WorkerStartError, DataDirInUse, EmbeddedStartError, StoreError: the server cannot start.
    """
    tls.certificates(settings)  # An error is reported once, here, and not by each worker.
    async with AsyncExitStack() as stack:
        endpoint, name = await open_store(settings, stack)
        environments = environments_of(settings, endpoint, stack)
        access = Access.of(environments, settings)
        try:
            port = ReservedPort(settings.listen)
        except OSError as error:
            raise ListenError(f"can't listen on {settings.listen}: {error}") from error
        stack.callback(port.close)
        update = {"listen": port.address, "redis_url": endpoint.url, "workers": 1, "demo": False}
        update["trim_interval_seconds"] = 0.0  # This process trims for all workers.
        http = http_port.keep_port(settings)
        if http is not None:
            stack.callback(http.close)
        update |= {"http_listen": "" if http is None else http.address, "ops_listen": ""}
        reports = None
        if settings.ops_listen or (http is not None and settings.console):
            reports = Reports(private_folder(stack), with_metrics=bool(settings.ops_listen))
        workers = Workers(
            settings.model_copy(update=update), settings.workers, lambda: access.authorizer.keys_seen, reports
        )
        if reports is not None:
            decisions = WorkersDecisions(workers, settings.workers)
            answering = await serve_reports(reports.supervisor, {DECISIONS: decisions.report})
            stack.callback(answering.close)
        trimmer = trimmer_of(settings, environments)
        ops = await metrics.open_port_with_workers(settings, environments, workers, trimmer, stack)
        stack.push_async_callback(workers.stop)
        starting = asyncio.create_task(workers.start())
        stack.callback(starting.cancel)
        # The workers wait for the store as well; this process reports its problems, once.
        await prepare_store(environments, partial(prepare, settings, environments, None), access, first=True)
        # So that a worker that starts later learns of keys that are gone by then.
        coroutines = (*access.key_cache.keep_fresh(), trimmer.run())
        tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
        stack.push_async_callback(background.cancel_all, tasks)
        transport = await starting
        scheme = "http" if settings.tls_certificate is None else "https"
        url = None if http is None else f"{scheme}://{http.address}"
        on_ready(Ready(port.address, transport, name, settings.clock, access.description, settings.workers, url, ops))
        await stop.wait()
