"""What is wired to what; the only place that knows it all."""

import asyncio
import gc
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from grpc import aio
from grpc_health.v1 import health, health_pb2

from canuse.testing.v1 import clock_service_pb2
from canuse.v1 import (
    api_key_service_pb2,
    catalog_service_pb2,
    entitlement_service_pb2,
    subscription_service_pb2,
    usage_service_pb2,
    user_service_pb2,
)
from canuse_server.api.api_keys import ApiKeyServicer
from canuse_server.api.catalog import CatalogServicer
from canuse_server.api.clock import ClockServicer
from canuse_server.api.endpoints import Endpoints, endpoints
from canuse_server.api.entitlements import EntitlementServicer
from canuse_server.api.rate_limit_rules import RateLimitRules
from canuse_server.api.subscriptions import SubscriptionServicer
from canuse_server.api.usage import UsageServicer
from canuse_server.api.users import UserServicer
from canuse_server.api.world import Worlds
from canuse_server.auth.access import Access
from canuse_server.auth.scopes import check_listed
from canuse_server.demo import load_demo
from canuse_server.envoy import rate_limit_service_pb2
from canuse_server.settings import Settings, Transport
from canuse_server.store.client import Store
from canuse_server.store.clock import ManualClock
from canuse_server.store.durability import LEVELS, Promise
from canuse_server.store.embedded import EmbeddedValkey
from canuse_server.store.endpoint import Endpoint as StoreEndpoint
from canuse_server.store.risks import check_durability
from canuse_server.store.schema import check_schema, check_version
from canuse_server.store.usage import Retention
from canuse_server.transport import grpcio, tls
from canuse_server.workers import Port, Workers

if TYPE_CHECKING:
    from canuse_server.transport.native import NativeTransport


GARBAGE: Final = 50_000
"""How many objects more than were freed make the collector look at the youngest."""


class ListenError(RuntimeError):
    """The address can't be listened on."""


class Ready(NamedTuple):
    """Where and how calls are answered."""

    address: str
    transport: str
    store: str
    clock: str
    access: str
    workers: int

    def __str__(self) -> str:
        workers = f", workers {self.workers}" if self.workers > 1 else ""
        how = f"transport {self.transport}, store {self.store}, clock {self.clock}, access {self.access}{workers}"
        return f"canuse ready on {self.address} ({how})"


async def serve(settings: Settings, ready: Callable[[Ready], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain; in processes of its own where there is to be more than one.

    Raises:
        ListenError, TlsError, WorkerStartError, DataDirInUse, EmbeddedStartError, StoreError: what keeps it from
            starting.
    """
    if settings.workers == 1:
        await serve_here(settings, ready, stop)
        return
    tls.certificates(settings)  # What is wrong with them is told once, here, and not by each worker.
    async with AsyncExitStack() as stack:
        endpoint, name = await _open_store(settings, stack)
        worlds = await _open_worlds(settings, endpoint, stack, warn=True)
        access = await Access.open(worlds, settings)
        if settings.demo:
            await load_demo(worlds.live)
        try:
            port = Port(settings.listen)
        except OSError as error:
            raise ListenError(f"can't listen on {settings.listen}: {error}") from error
        stack.callback(port.close)
        update = {"listen": port.address, "redis_url": endpoint.url, "workers": 1, "demo": False}
        workers = Workers(settings.model_copy(update=update), settings.workers)
        stack.push_async_callback(workers.stop)
        transport = await workers.start()
        ready(Ready(port.address, transport, name, settings.clock, access.words, settings.workers))
        await stop.wait()


async def serve_here(
    settings: Settings, ready: Callable[[Ready], None], stop: asyncio.Event, *, share_port: bool = False
) -> None:
    """Serve in this process until `stop` is set, then drain. `share_port`: others serve on the same port.

    Raises:
        ListenError, TlsError, DataDirInUse, EmbeddedStartError, StoreError: what keeps it from starting.
    """
    certificates = tls.certificates(settings)
    async with AsyncExitStack() as stack:
        endpoint, name = await _open_store(settings, stack)
        worlds = await _open_worlds(settings, endpoint, stack, warn=not share_port)
        clock = ManualClock(worlds.live.store) if settings.clock == "manual" else None
        if clock is not None:
            await clock.start()
        access = await Access.open(worlds, settings)
        _in_background((worlds.live.cache.follow(), worlds.test.cache.follow(), access.keyring.follow()), stack)
        if settings.demo:
            await load_demo(worlds.live)

        health_servicer = health.aio.HealthServicer()
        served = _endpoints(access, clock)
        services = ["", *served.services()]
        server = grpcio.build(
            served, access.gate, health_servicer, share_port=share_port, with_reflection=settings.reflection
        )
        address, transport = await _listen(settings, certificates, server, served, access, stack, share_port)
        for service in services:
            await health_servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
        # What is there now stays, and calls leave no cycles behind: the collector need not look at all of it each time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE, 20, 20)
        ready(Ready(address, transport, name, settings.clock, access.words, 1))
        await stop.wait()
        worlds.close()
        await health_servicer.enter_graceful_shutdown()


async def _open_worlds(settings: Settings, endpoint: StoreEndpoint, stack: AsyncExitStack, *, warn: bool) -> Worlds:
    """Look whether the store is one that canuse can work with, and return what is in it; `warn` of what it may lose."""
    store = Store(endpoint, settings.store_timeout_seconds, _promise(settings))
    stack.push_async_callback(store.close)
    await check_version(store)
    await check_durability(store, warn=warn)
    await check_schema(store)
    await store.load_scripts()
    domains = (settings.ratelimit_live_domain, settings.ratelimit_test_domain)
    worlds = Worlds.of(
        store,
        _retention(settings),
        settings.default_package,
        _rate_limits(settings, *domains),
        _rate_limits(settings, *reversed(domains)),
    )
    await worlds.refresh()
    return worlds


async def _open_store(settings: Settings, stack: AsyncExitStack) -> tuple[StoreEndpoint, str]:
    if settings.redis_url is not None:
        endpoint = StoreEndpoint.from_url(settings.redis_url)
        return endpoint, endpoint.address
    valkey = EmbeddedValkey(settings.data_dir, fsync=settings.embedded_fsync)
    await valkey.start()
    stack.push_async_callback(valkey.stop)
    endpoint = StoreEndpoint.from_url(f"unix://{quote(str(valkey.socket_path))}")
    return endpoint, f"embedded Valkey in {settings.data_dir}"


def _promise(settings: Settings) -> Promise:
    level = LEVELS[settings.durability]
    return Promise(level, settings.durability_replicas, settings.durability_timeout_seconds)


def _retention(settings: Settings) -> Retention:
    return Retention(
        dedupe_ttl_ms=settings.dedupe_ttl_seconds * 1000,
        ledger_max_age_ms=settings.ledger_max_age_seconds * 1000,
        past_periods_kept=settings.past_periods_kept,
    )


def _rate_limits(settings: Settings, domain: str, other_domain: str) -> RateLimitRules:
    return RateLimitRules(
        domain=domain,
        other_domain=other_domain,
        user_key=settings.ratelimit_user_key,
        feature_key=settings.ratelimit_feature_key,
        deny_unknown=settings.ratelimit_unknown == "deny",
    )


def _in_background(works: Iterable[Coroutine[None, None, None]], stack: AsyncExitStack) -> None:
    tasks = [asyncio.create_task(work) for work in works]

    async def end() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    stack.push_async_callback(end)


def _endpoints(access: Access, clock: ManualClock | None) -> Endpoints:
    served: list[tuple[ModuleType, str, object]] = [
        (entitlement_service_pb2, "EntitlementService", EntitlementServicer()),
        (catalog_service_pb2, "CatalogService", CatalogServicer()),
        (user_service_pb2, "UserService", UserServicer()),
        (subscription_service_pb2, "SubscriptionService", SubscriptionServicer()),
        (usage_service_pb2, "UsageService", UsageServicer()),
        (api_key_service_pb2, "ApiKeyService", ApiKeyServicer(access.keys, access.keyring.refresh)),
        # All its methods are hot ones.
        (rate_limit_service_pb2, "RateLimitService", None),
    ]
    if clock is not None:
        served.append((clock_service_pb2, "ClockService", ClockServicer(clock)))
    found = Endpoints({}, {})
    for module, service, servicer in served:
        methods = endpoints(module.DESCRIPTOR.services_by_name[service], servicer)
        found.unary.update(methods.unary)
        found.streaming.update(methods.streaming)
    check_listed((*found.unary, *found.streaming))
    return found


def _native(wanted: Transport) -> "type[NativeTransport] | None":
    """Return the native transport, or None where it is not wanted or not there."""
    if wanted == "grpcio":
        return None
    try:
        from canuse_server.transport.native import NativeTransport  # noqa: PLC0415 - it is not there on every platform
    except ImportError:
        if wanted == "native":
            raise ListenError("the native transport needs the package pygrpc-native") from None
        return None
    return NativeTransport


async def _listen(
    settings: Settings,
    certificates: tls.Certificates | None,
    server: aio.Server,
    served: Endpoints,
    access: Access,
    stack: AsyncExitStack,
    share_port: bool,
) -> tuple[str, str]:
    """Open the public port; return its address and the transport's name."""
    host = settings.listen.rpartition(":")[0]
    native = _native(settings.transport if certificates is None else "grpcio")
    try:
        if native is None:
            port = grpcio.open_port(server, settings.listen, certificates)
            await server.start()
            stack.push_async_callback(server.stop, settings.grace_seconds)
            return f"{host}:{port}", f"grpcio with {certificates.words}" if certificates else "grpcio"
        folder = Path(tempfile.mkdtemp(prefix="canuse-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        fallback = folder / "grpc.sock"
        server.add_insecure_port(f"unix:{fallback}")
        front = native(
            settings.listen,
            fallback,
            served.unary,
            access.gate,
            access.keys.store,
            settings.lanes,
            share_port=share_port,
        )
        port = front.listen()
        # Undone from the last to the first: calls under way end on the lanes, then on the server, then the port closes.
        stack.push_async_callback(front.close)
        await server.start()
        stack.push_async_callback(server.stop, settings.grace_seconds)
        front.serve()
        stack.push_async_callback(front.drain, settings.grace_seconds)
    except (RuntimeError, OSError) as error:
        raise ListenError(f"can't listen on {settings.listen}: {error}") from error
    return f"{host}:{port}", "native"
