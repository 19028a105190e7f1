"""The wiring of a server: connects all parts of a process."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import structlog

from canuse_server.access_log.log import access_logs, change_log
from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher, Observer, observers_of
from canuse_server.api.environment import Environments
from canuse_server.app import http_port, interpreter, public_port, rlimits
from canuse_server.app.decisions.history import OwnDecisions
from canuse_server.app.decisions.workers import ServersDecisions, answer_supervisor
from canuse_server.app.operations.health import Health
from canuse_server.app.operations.metrics import process_metrics
from canuse_server.app.ready import Ready
from canuse_server.app.servicers import all_handlers, store_servicer
from canuse_server.app.startup import prepare_store
from canuse_server.app.stores import environments_of, manual_clock, open_store, prepare, trimmer_of
from canuse_server.app.workers.reports import WorkerReports
from canuse_server.app.workers.serving import serve_with_workers
from canuse_server.auth.access import Access, is_loopback
from canuse_server.runtime import background
from canuse_server.settings import Settings
from canuse_server.store.preflight.schema import watch_data
from canuse_server.traces import opening as traces_opening
from canuse_server.transport import aio_server, tls
from canuse_server.transport.http.host import Host
from canuse_server.transport.shutdown import Deadline

log = structlog.get_logger(__name__)


async def serve(settings: Settings, on_ready: Callable[[Ready], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain. With more than one worker, serve in separate processes.

    Raises:
        ListenError, TlsError, TracesError, WorkerStartError, DataDirInUse, EmbeddedStartError, StoreError: the server
            cannot start.
    """
    if settings.transport == "native" and not is_loopback(settings.listen):
        log.warning(
            "use the native transport only for trusted callers or behind Envoy (deploy/envoy/tls.yaml): it "
            "decompresses requests without a limit"
        )
    settings = traces_opening.checked(settings)
    serving = serve_in_process if settings.workers == 1 else serve_with_workers
    await serving(settings, on_ready, stop)


async def serve_in_process(
    settings: Settings,
    on_ready: Callable[[Ready], None],
    stop: asyncio.Event,
    *,
    share_port: bool = False,
    keys_seen: bool = False,
    observer: Observer | None = None,
    reports: WorkerReports | None = None,
) -> None:
    """Serve in this process until `stop` is set, then drain. `share_port`: this is a worker.

    `keys_seen`: an API key has existed before. `observer` is notified of each call that has ended. `reports` are the
    sockets on which a worker and its supervisor ask each other.

    Raises:
        ListenError, TlsError, TracesError, DataDirInUse, EmbeddedStartError, StoreError: the server cannot start.
    """
    certificates = tls.certificates(settings)
    rlimits.raise_nofile_limit()
    async with AsyncExitStack() as stack:
        endpoint, name = await open_store(settings, stack)
        environments = environments_of(settings, endpoint, stack)
        clock = manual_clock(environments) if settings.clock == "manual" else None
        # A worker does not print a key: its parent reads its output.
        access = Access.of(environments, settings, is_worker=share_port, keys_seen=keys_seen)
        handlers = all_handlers(access, clock, store_servicer(settings, environments, access))
        health = Health(handlers.services())
        await health.set_ready(False)
        admission = AdmissionLimit(settings.max_calls_in_flight, settings.max_waiting_bytes)
        trimmer = trimmer_of(settings, environments)
        is_worker = reports is not None and reports.with_metrics
        metrics = process_metrics(settings, environments, admission, health, trimmer, is_worker=is_worker)
        grpc_calls = None if metrics is None else metrics.grpc_calls
        logs = access_logs(settings, access.authorizer, stack)
        deadline = Deadline(settings.grace_seconds)
        has_ids = logs is not None
        traces = traces_opening.open_traces(settings, stack, deadline, request_ids=has_ids)
        of_grpc, of_http = (observer, observer) if logs is None else (observers_of(observer, log) for log in logs)
        tracer = None if traces is None else traces.of_grpc
        dispatcher = Dispatcher(
            *(handlers, access.authorizer, admission, observers_of(of_grpc, grpc_calls), tracer),
            change_log=change_log(settings, stack),
            request_ids=has_ids,
        )
        server = aio_server.build(
            dispatcher, handlers.services(), health.servicer, share_port=share_port, with_reflection=settings.reflection
        )
        # It closes last, and tells until then that the server is not ready.
        ops = None if metrics is None else await metrics.open(stack)
        await answer_supervisor(reports, health, metrics, stack)
        http_calls = None if metrics is None else metrics.http_calls
        tracer = None if traces is None else traces.of_http
        over_http = dispatcher.with_observer(observers_of(of_http, http_calls), tracer)
        host = Host(
            authorizer=access.authorizer,
            store=environments.live.store,
            is_ready=lambda: health.is_ready,
            grpc_address=lambda: address,
            secure=settings.tls_certificate is not None,
            decisions=(OwnDecisions() if reports is None else ServersDecisions(reports.supervisor)).read,
            store_name=name,
            settings=http_port.shown_settings(settings),
        )
        http = http_port.open_port(settings, over_http, host, share_port=share_port)
        if http is not None:
            stack.push_async_callback(http.end, deadline)
        address, front = public_port.listen(
            *(settings, certificates, server, dispatcher, environments.live.store, stack, share_port, of_grpc),
            with_metrics=metrics is not None,
        )
        transport = public_port.transport_name(certificates) if front is None else "native"
        if metrics is not None:
            metrics.set_ports(transport, front, http)
        ready_store = partial(prepare, settings, environments, clock)
        answer = partial(public_port.answer, server, front, http, stack, deadline)
        await prepare_store(environments, ready_store, access, first=not share_port, answer=answer)
        counting = () if metrics is None else metrics.background()
        background_work = (*_keep_fresh(environments, access, health), *counting, trimmer.run())
        stack.push_async_callback(background.cancel_all, [asyncio.create_task(work) for work in background_work])
        await health.set_ready(True)
        interpreter.tune(transport)
        url = None if http is None else http.address
        on_ready(Ready(address, transport, name, settings.clock, access.description, 1, url, ops))
        await stop.wait()
        environments.close()
        await health.end()


def _keep_fresh(environments: Environments, access: Access, health: Health) -> tuple[Coroutine[Any, Any, None], ...]:
    """Return the tasks that follow what other servers change in the store, and whether it has its data."""

    async def on_data_change(is_there: bool) -> None:
        """Set the health status according to whether the store has its data."""
        if is_there:
            await environments.refresh()
            await access.key_cache.refresh()
        await health.set_ready(is_there)

    return (
        *environments.live.cache.keep_fresh(),
        *environments.test.cache.keep_fresh(),
        *access.key_cache.keep_fresh(),
        watch_data(environments.live.store, on_data_change),
    )
