"""The CPU cost of a call without gRPC: `python -m bench.servicer`.

It compares the path of the `grpcio` transport from the bytes of a request to those of its response (validation, rules,
the shared connection to the store) with one EVALSHA of redis-py per call and a script of five lines. gRPC is excluded:
it costs both the same, and more than either. All cases take turns in one process, with a Valkey on the other core.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, cast

from redis.asyncio import Redis

from bench import plain
from bench.measure import WARM_UP_SHARE
from bench.methods import CAN_USE, CREATE_USAGE_EVENT, FEATURE, METHODS, USE_FEATURE
from bench.processes import Cores, pin
from bench.store import valkey
from canuse import v1
from canuse.v1 import catalog_service_pb2, entitlement_service_pb2, subscription_service_pb2, user_service_pb2
from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher
from canuse_server.api.endpoints import Handlers, handlers_of
from canuse_server.api.environment import Environments
from canuse_server.api.ratelimit.config import RateLimitRules
from canuse_server.api.services.catalog_service.servicer import CatalogServicer
from canuse_server.api.services.entitlements import EntitlementServicer
from canuse_server.api.services.subscription_service.servicer import SubscriptionServicer
from canuse_server.api.services.users import UserServicer
from canuse_server.auth.authorizer import Authorizer
from canuse_server.runtime.fairness import PageScheduler
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.usage_commands import Retention

Call = Callable[[], Awaitable[object]]
USER: Final = "bench-0"
PACKAGE: Final = "bench"
BASELINE: Final = "redis-py EVALSHA"


async def answer(dispatcher: Dispatcher, path: str, payload: bytes) -> bytes:
    """Answer a call as a transport does."""
    return await dispatcher.unary(dispatcher.open(path, ()), payload, None)


async def prepare(dispatcher: Dispatcher) -> None:
    """Create a user with an inexhaustible budget."""

    async def call(method: str, request: object) -> None:
        await answer(dispatcher, f"/canuse.v1.{method}", cast("v1.User", request).SerializeToString())

    entry = v1.PackageFeature(feature_id=FEATURE, limit=plain.LIMIT, reset_period=v1.RESET_PERIOD_MONTH)
    feature = v1.Feature(id=FEATURE, type=v1.FEATURE_TYPE_CONSUMABLE)
    package = v1.Package(id=PACKAGE, type=v1.PACKAGE_TYPE_BASE, features=[entry])
    await call("CatalogService/CreateFeature", v1.CreateFeatureRequest(feature=feature))
    await call("CatalogService/CreatePackage", v1.CreatePackageRequest(package=package))
    await call("CatalogService/PublishPackage", v1.PublishPackageRequest(package_id=PACKAGE))
    await call("UserService/CreateUser", v1.CreateUserRequest(user=v1.User(id=USER)))
    await call("SubscriptionService/Subscribe", v1.SubscribeRequest(user_id=USER, package_ids=[PACKAGE]))


def all_handlers() -> Handlers:
    """Return the handlers of the measured methods and of those that create a user."""
    handlers, pages = Handlers({}, {}), PageScheduler()
    for module, service, servicer in (
        (entitlement_service_pb2, "EntitlementService", EntitlementServicer()),
        (catalog_service_pb2, "CatalogService", CatalogServicer()),
        (user_service_pb2, "UserService", UserServicer()),
        (subscription_service_pb2, "SubscriptionService", SubscriptionServicer()),
    ):
        handlers.unary.update(handlers_of(module.DESCRIPTOR.services_by_name[service], servicer, pages).unary)
    return handlers


async def microseconds(call: Call, in_flight: int, seconds: float) -> float:
    """Make calls for a time; return the CPU time of this process per call, in microseconds."""
    calls, deadline = 0, time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal calls
        while time.perf_counter() < deadline:
            await call()
            calls += 1

    cpu_before = time.process_time()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return (time.process_time() - cpu_before) * 1e6 / calls


async def run(url: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Measure all cases in turns."""
    store, redis = Store(StoreAddress.from_url(url), 10), Redis.from_url(url, max_connections=options.in_flight)
    retention = Retention(86_400_000, 2_592_000_000, 12)
    environments = Environments.of(store, retention, "", RateLimitRules(), RateLimitRules())
    authorizer = Authorizer(environments, never_required=True, open_without_keys=True)
    authorizer.set_keys(())
    dispatcher = Dispatcher(all_handlers(), authorizer, AdmissionLimit(options.in_flight, 1 << 30))
    await prepare(dispatcher)
    sha = await redis.script_load(plain.USE)
    key = plain.KEY.format(user_id=USER, feature_id=FEATURE)
    calls: dict[str, Call] = {
        BASELINE: lambda: cast("Awaitable[object]", redis.evalsha(sha, 1, key, "1", str(plain.LIMIT), "1"))
    }
    for method in METHODS:
        if method in (CAN_USE, USE_FEATURE, CREATE_USAGE_EVENT):
            calls[method.name] = partial(answer, dispatcher, method.path, method.messages([USER])[0])
    costs: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        await microseconds(call, options.in_flight, WARM_UP_SHARE * options.seconds)
    for _ in range(options.rounds):
        for name, call in calls.items():
            costs[name].append(await microseconds(call, options.in_flight, options.seconds))
    await store.close()
    await redis.aclose()
    return costs


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="bench.servicer", description="Measure the CPU cost of a call without gRPC.")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    options = parser.parse_args()
    cores = Cores.of_this_machine()
    pin(cores.load)
    with valkey("everysec", cores) as store:
        pin(cores.server)
        measured = asyncio.run(run(store.url, options))
    print(f"{'call':20} {'us of processor time':>22} {'times redis-py':>16}   in each round")
    for name, costs in measured.items():
        ratios = [theirs / ours for theirs, ours in zip(measured[BASELINE], costs, strict=True)]
        each = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name:20} {statistics.median(costs):22.1f} {statistics.median(ratios):16.2f}   {each}")


if __name__ == "__main__":
    main()
