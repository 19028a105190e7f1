"""The wiring: the only module that connects all parts."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import structlog
from grpc import aio

from canuse.testing.v1 import clock_service_pb2
from canuse.v1 import (
    api_key_service_pb2,
    catalog_service_pb2,
    entitlement_service_pb2,
    subscription_service_pb2,
    usage_service_pb2,
    user_service_pb2,
)
from canuse_server import missing_package
from canuse_server.access_log.log import access_logs
from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher, Observer, observers_of
from canuse_server.api.endpoints import Handlers, handlers_of
from canuse_server.api.environment import Environments
from canuse_server.api.last_known import LastKnown
from canuse_server.api.ratelimit.config import RateLimitRules
from canuse_server.api.services.api_keys import ApiKeyServicer
from canuse_server.api.services.catalog_service.servicer import CatalogServicer
from canuse_server.api.services.clock import ClockServicer
from canuse_server.api.services.entitlements import EntitlementServicer
from canuse_server.api.services.subscriptions import SubscriptionServicer
from canuse_server.api.services.usage import UsageServicer
from canuse_server.api.services.users import UserServicer
from canuse_server.app import http_port, interpreter, rlimits
from canuse_server.app.demo import load_demo
from canuse_server.app.health import Health
from canuse_server.app.ports import ListenError, leave_out
from canuse_server.app.startup import prepare_store
from canuse_server.app.supervisor import ReservedPort, Workers
from canuse_server.auth.access import Access, is_loopback
from canuse_server.domain.durability import LEVELS
from canuse_server.envoy import rate_limit_service_pb2
from canuse_server.runtime import background
from canuse_server.runtime.fairness import PageScheduler
from canuse_server.settings import Settings
from canuse_server.store.embedded.supervisor import EmbeddedValkey
from canuse_server.store.preflight.schema import watch_data
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.cluster import store_at
from canuse_server.store.redis.durability import Promise
from canuse_server.store.repositories.manual_clock import ManualClock
from canuse_server.store.repositories.usage_commands import Retention
from canuse_server.transport import aio_server, tls
from canuse_server.transport.shutdown import Deadline

if TYPE_CHECKING:
    from canuse_server.app.process_metrics import ProcessMetrics
    from canuse_server.transport.http.server import HttpServer
    from canuse_server.transport.native.server import NativeTransport

log = structlog.get_logger(__name__)


class Ready(NamedTuple):
    """A server that is ready: its address and its main settings."""

    address: str
    transport: str
    store: str
    clock: str
    access: str
    workers: int
    http: str | None = None
    """The HTTP port's URL."""
    ops: str | None = None
    """The URL of the port for health and metrics."""

    def __str__(self) -> str:
        workers = f", workers {self.workers}" if self.workers > 1 else ""
        details = f"transport {self.transport}, store {self.store}, clock {self.clock}, access {self.access}{workers}"
        http = f", HTTP on {self.http}" if self.http else ""
        ops = f", metrics on {self.ops}/metrics" if self.ops else ""
        return f"canuse ready on {self.address} ({details}){http}{ops}"


async def serve(settings: Settings, on_ready: Callable[[Ready], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain. With more than one worker, serve in separate processes.

    Raises:
        ListenError, TlsError, WorkerStartError, DataDirInUse, EmbeddedStartError, StoreError: the server cannot start.
    """
    if settings.transport == "native" and not is_loopback(settings.listen):
        log.warning(
            "use the native transport only for trusted callers or behind Envoy (deploy/envoy/tls.yaml): it "
            "decompresses requests without a limit"
        )
    if settings.workers == 1:
        await serve_in_process(settings, on_ready, stop)
        return
    tls.certificates(settings)  # An error is reported once, here, and not by each worker.
    async with AsyncExitStack() as stack:
        endpoint, name = await _open_store(settings, stack)
        environments = _environments(settings, endpoint, stack)
        access = Access.of(environments, settings)
        try:
            port = ReservedPort(settings.listen)
        except OSError as error:
            raise ListenError(f"can't listen on {settings.listen}: {error}") from error
        stack.callback(port.close)
        update = {"listen": port.address, "redis_url": endpoint.url, "workers": 1, "demo": False}
        http = http_port.keep_port(settings)
        if http is not None:
            stack.callback(http.close)
        update |= {"http_listen": "" if http is None else http.address, "ops_listen": ""}
        reports = _folder(stack) if settings.ops_listen else None
        workers = Workers(
            settings.model_copy(update=update), settings.workers, lambda: access.authorizer.keys_seen, reports
        )
        ops = await _open_ops(settings, environments, workers, stack)
        stack.push_async_callback(workers.stop)
        starting = asyncio.create_task(workers.start())
        stack.callback(starting.cancel)
        # The workers wait for the store as well; this process reports its problems, once.
        await prepare_store(environments, partial(_prepare, settings, environments, None), access, first=True)
        # So that a worker that starts later learns of keys that are gone by then.
        tasks = [asyncio.create_task(coroutine) for coroutine in access.key_cache.keep_fresh()]
        stack.push_async_callback(background.cancel_all, tasks)
        transport = await starting
        scheme = "http" if settings.tls_certificate is None else "https"
        url = None if http is None else f"{scheme}://{http.address}"
        on_ready(Ready(port.address, transport, name, settings.clock, access.description, settings.workers, url, ops))
        await stop.wait()


async def serve_in_process(
    settings: Settings,
    on_ready: Callable[[Ready], None],
    stop: asyncio.Event,
    *,
    share_port: bool = False,
    keys_seen: bool = False,
    observer: Observer | None = None,
    reports: Path | None = None,
) -> None:
    """Serve in this process until `stop` is set, then drain. `share_port`: this is a worker.

    `keys_seen`: an API key has existed before. `observer` is notified of each call that has ended. `reports` is the
    socket on which a worker tells its supervisor of its health and metrics.

    Raises:
        ListenError, TlsError, DataDirInUse, EmbeddedStartError, StoreError: the server cannot start.
    """
    certificates = tls.certificates(settings)
    rlimits.raise_nofile_limit()
    async with AsyncExitStack() as stack:
        endpoint, name = await _open_store(settings, stack)
        environments = _environments(settings, endpoint, stack)
        clock = ManualClock(environments.live.store) if settings.clock == "manual" else None
        # A worker does not print a key: its parent reads its output.
        access = Access.of(environments, settings, is_worker=share_port, keys_seen=keys_seen)
        handlers = _handlers(access, clock)
        health = Health(handlers.services())
        await health.set_ready(False)
        admission = AdmissionLimit(settings.max_calls_in_flight, settings.max_waiting_bytes)
        metrics = _metrics(settings, environments, admission, health, is_worker=reports is not None)
        grpc_calls = None if metrics is None else metrics.grpc_calls
        logs = access_logs(settings, access.authorizer, stack)
        of_grpc, of_http = (observer, observer) if logs is None else (observers_of(observer, log) for log in logs)
        dispatcher = Dispatcher(
            *(handlers, access.authorizer, admission, observers_of(of_grpc, grpc_calls)), request_ids=logs is not None
        )
        server = aio_server.build(
            dispatcher, handlers.services(), health.servicer, share_port=share_port, with_reflection=settings.reflection
        )
        deadline = Deadline(settings.grace_seconds)
        ops = None
        if metrics is not None:
            # It closes last, and tells until then that the server is not ready.
            ops = await metrics.open(stack, reports)
        http_calls = None if metrics is None else metrics.http_calls
        over_http = dispatcher.with_observer(observers_of(of_http, http_calls))
        http = http_port.open_port(settings, over_http, access.authorizer, share_port=share_port)
        if http is not None:
            stack.push_async_callback(http.end, deadline)
        address, front = _listen(
            *(settings, certificates, server, dispatcher, environments.live.store, stack, share_port, of_grpc),
            with_metrics=metrics is not None,
        )
        transport = _transport_name(certificates) if front is None else "native"
        if metrics is not None:
            metrics.set_ports(transport, front, http)
        prepare = partial(_prepare, settings, environments, clock)
        answer = partial(_answer, server, front, http, stack, deadline)
        await prepare_store(environments, prepare, access, first=not share_port, answer=answer)
        counting = () if metrics is None else metrics.background()
        coroutines = (*_keep_fresh(environments, access, health), *counting)
        tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
        stack.push_async_callback(background.cancel_all, tasks)
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


def _environments(settings: Settings, endpoint: StoreAddress, stack: AsyncExitStack) -> Environments:
    store = store_at(endpoint, settings.store_timeout_seconds, _promise(settings))
    stack.push_async_callback(store.close)
    domains = (settings.ratelimit_live_domain, settings.ratelimit_test_domain)
    return Environments.of(
        store,
        _retention(settings),
        settings.default_package,
        _rate_limits(settings, *domains),
        _rate_limits(settings, *reversed(domains)),
        lambda: LastKnown(settings.last_known_max_age_seconds, settings.last_known_entries),
    )


async def _prepare(settings: Settings, environments: Environments, clock: ManualClock | None) -> None:
    """Prepare a checked store for the first call."""
    if clock is not None:
        await clock.start()
    if settings.demo:
        await load_demo(environments.live)


async def _open_store(settings: Settings, stack: AsyncExitStack) -> tuple[StoreAddress, str]:
    if settings.redis_url is not None:
        endpoint = StoreAddress.from_url(settings.redis_url)
        return endpoint, endpoint.address
    valkey = EmbeddedValkey(settings.data_dir, fsync=settings.embedded_fsync)
    await valkey.start()
    stack.push_async_callback(valkey.stop)
    endpoint = StoreAddress.from_url(f"unix://{quote(str(valkey.socket_path))}")
    return endpoint, f"embedded Valkey in {settings.data_dir}"


def _promise(settings: Settings) -> Promise:
    level = LEVELS[settings.durability]
    return Promise(level, settings.durability_replicas, settings.durability_timeout_seconds)


def _retention(settings: Settings) -> Retention:
    return Retention(
        dedupe_ttl_ms=settings.dedupe_ttl_seconds * 1000,
        ledger_max_age_ms=settings.ledger_max_age_seconds * 1000,
        past_periods_max_age_days=settings.past_periods_max_age_days,
    )


def _rate_limits(settings: Settings, domain: str, other_domain: str) -> RateLimitRules:
    return RateLimitRules(
        domain=domain,
        other_domain=other_domain,
        user_key=settings.ratelimit_user_key,
        feature_key=settings.ratelimit_feature_key,
        record_key=settings.ratelimit_record_key,
        deny_unknown=settings.ratelimit_unknown == "deny",
    )


def _handlers(access: Access, clock: ManualClock | None) -> Handlers:
    api_keys = ApiKeyServicer(access.keys, access.key_cache.refresh, publishable_keys=access.publishable_keys)
    servicers: list[tuple[ModuleType, str, object]] = [
        (entitlement_service_pb2, "EntitlementService", EntitlementServicer()),
        (catalog_service_pb2, "CatalogService", CatalogServicer()),
        (user_service_pb2, "UserService", UserServicer(access.authorizer.tokens)),
        (subscription_service_pb2, "SubscriptionService", SubscriptionServicer()),
        (usage_service_pb2, "UsageService", UsageServicer()),
        (api_key_service_pb2, "ApiKeyService", api_keys),
        # All its methods are hot methods.
        (rate_limit_service_pb2, "RateLimitService", object()),
    ]
    if clock is not None:
        servicers.append((clock_service_pb2, "ClockService", ClockServicer(clock)))
    handlers, pages = Handlers({}, {}), PageScheduler()
    for module, service, servicer in servicers:
        methods = handlers_of(module.DESCRIPTOR.services_by_name[service], servicer, pages)
        handlers.unary.update(methods.unary)
        handlers.streaming.update(methods.streaming)
    return handlers


def _metrics(
    settings: Settings, environments: Environments, admission: AdmissionLimit, health: Health, *, is_worker: bool
) -> "ProcessMetrics | None":
    """Return the metrics of this process, or None if nobody reads them or their package is not installed."""
    if not settings.ops_listen and not is_worker:
        return None
    try:
        from canuse_server.app.process_metrics import ProcessMetrics  # noqa: PLC0415 - it takes a moment to import
    except ModuleNotFoundError as error:
        _leave_out_ops(settings, error)
        return None
    return ProcessMetrics(settings, environments, admission, health, is_worker=is_worker)


async def _open_ops(
    settings: Settings, environments: Environments, workers: Workers, stack: AsyncExitStack
) -> str | None:
    """Open the port for operations of a server with workers, if there is to be one; return its URL."""
    if not settings.ops_listen:
        return None
    try:
        from canuse_server.app import worker_totals  # noqa: PLC0415 - it takes a moment to import
    except ModuleNotFoundError as error:
        _leave_out_ops(settings, error)
        return None
    return await worker_totals.open_port(settings, environments, workers, stack)


def _leave_out_ops(settings: Settings, error: ModuleNotFoundError) -> None:
    problem = f"ops_listen needs the package {missing_package(error)}: pip install 'canuse[metrics]'"
    leave_out(settings, "ops_listen", problem)


def _native(settings: Settings, certificates: tls.Certificates | None) -> "type[NativeTransport] | None":
    """Return the native transport, or None if it is not selected or not installed."""
    transport = settings.transport
    # It decompresses requests without a limit, so only an explicit setting opens it to other machines.
    if certificates is not None or (transport == "auto" and not is_loopback(settings.listen)):
        transport = "grpcio"
    if transport == "grpcio":
        return None
    try:
        from canuse_server.transport.native.server import NativeTransport  # noqa: PLC0415 - not available on every platform
    except ImportError:
        if transport == "native":
            raise ListenError("the native transport needs the package pygrpc-native") from None
        return None
    return NativeTransport


def _listen(
    settings: Settings,
    certificates: tls.Certificates | None,
    server: aio.Server,
    dispatcher: Dispatcher,
    store: Store,
    stack: AsyncExitStack,
    share_port: bool,
    observer: Observer | None,
    *,
    with_metrics: bool,
) -> tuple[str, "NativeTransport | None"]:
    """Open the public port; return its address, and the native transport if that has opened it.

    Connections and calls wait there until they are answered.
    """
    host = settings.listen.rpartition(":")[0]
    native = _native(settings, certificates)
    try:
        if native is None:
            return f"{host}:{aio_server.open_port(server, settings.listen, certificates)}", None
        fallback = _folder(stack) / "grpc.sock"
        server.add_insecure_port(f"unix:{fallback}")
        front = native(
            settings.listen,
            fallback,
            dispatcher,
            store,
            share_port=share_port,
            observer=observer,
            with_metrics=with_metrics,
        )
        port = front.listen()
        # Callbacks run in reverse order: calls in flight end in the lane, then on the server, then the port closes.
        stack.push_async_callback(front.close)
    except (RuntimeError, OSError) as error:
        raise ListenError(f"can't listen on {settings.listen}: {error}") from error
    return f"{host}:{port}", front


async def _answer(
    server: aio.Server,
    front: "NativeTransport | None",
    http: "HttpServer | None",
    stack: AsyncExitStack,
    deadline: Deadline,
) -> None:
    """Start to answer calls on all ports."""
    await server.start()
    stack.push_async_callback(_stop, server, deadline)
    if front is not None:
        front.serve()
        stack.push_async_callback(front.drain, deadline)
    if http is not None:
        await http.start()
        # Before the gRPC port is drained, so that both have the same time for it.
        stack.callback(http.begin_to_end)


def _transport_name(certificates: tls.Certificates | None) -> str:
    """Return the name of the reference transport in the line printed at startup."""
    return "grpcio" if certificates is None else f"grpcio with {certificates.description}"


def _folder(stack: AsyncExitStack) -> Path:
    """Return a new folder for sockets, which only this user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="canuse-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


async def _stop(server: aio.Server, deadline: Deadline) -> None:
    await server.stop(deadline.remaining())
