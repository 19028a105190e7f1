"""The invariants that hold for every request, whatever its bytes are."""

from typing import Final

import grpc
from google.protobuf.message import Message

from canuse import v1
from canuse_server.api.dispatch import Dispatcher
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError
from canuse_server.api.hotpath.method import RETRYABLE
from canuse_server.api.hotpath.methods import HOT_METHODS
from canuse_server.api.methods import method_at
from canuse_server.store.preflight.schema import check_schema
from canuse_server.transport.native.request_cache import RequestCache

CALLS_PER_RESET: Final = 500
"""Number of calls after which the store is emptied, so that it stays small."""
SERVER_FAULTS: Final = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
BATCHES: Final[
    dict[
        str,
        type[v1.BatchCanUseResponse] | type[v1.BatchCreateUsageEventsResponse] | type[v1.BatchUseFeatureResponse],
    ]
] = {
    "/canuse.v1.EntitlementService/BatchCanUse": v1.BatchCanUseResponse,
    "/canuse.v1.EntitlementService/BatchCreateUsageEvents": v1.BatchCreateUsageEventsResponse,
    "/canuse.v1.EntitlementService/BatchUseFeature": v1.BatchUseFeatureResponse,
}


class FuzzTarget:
    """An environment on a real store of its own, and the methods called in it."""

    def __init__(self, env: Environment, dispatcher: Dispatcher) -> None:
        self.paths = sorted(path for path in dispatcher.paths if not method_at(path).streams)
        self._dispatcher = dispatcher
        self.checked = 0
        self._env = env
        self._request_cache = RequestCache(env)
        self._contents: bytes | None = None

    async def reset(self) -> None:
        """Empty the store and create what the inputs refer to."""
        admin, cache = self._env.store.admin, self._env.cache
        await cache.refresh()
        await admin.flushall()
        # An event id may be kept for a second only: that it expires is not due to the call that is made meanwhile.
        await admin.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")  # type: ignore[no-untyped-call]
        # To a running server an emptied store is an outage: this one is told that it is a new store.
        await check_schema(self._env.store)
        cache.packages.clear()
        await cache.refresh()
        features = [
            v1.Feature(id="calls", type=v1.FEATURE_TYPE_CONSUMABLE),
            v1.Feature(id="sso", type=v1.FEATURE_TYPE_BINARY),
        ]
        for feature in features:
            await self._call("CatalogService/CreateFeature", v1.CreateFeatureRequest(feature=feature))
        entries = [v1.PackageFeature(feature_id="calls", limit=5, reset_period=v1.RESET_PERIOD_DAY)]
        entries.append(v1.PackageFeature(feature_id="sso"))
        package = v1.Package(id="starter", type=v1.PACKAGE_TYPE_BASE, features=entries)
        await self._call("CatalogService/CreatePackage", v1.CreatePackageRequest(package=package))
        await self._call("CatalogService/PublishPackage", v1.PublishPackageRequest(package_id="starter"))
        await self._call("UserService/CreateUser", v1.CreateUserRequest(user=v1.User(id="124")))
        subscribe = v1.SubscribeRequest(user_id="124", package_ids=["starter"])
        await self._call("SubscriptionService/Subscribe", subscribe)
        grant = v1.Grant(id="bonus", user_id="124", feature_id="calls", amount=3)
        await self._call("SubscriptionService/CreateGrant", v1.CreateGrantRequest(grant=grant))
        self._contents = None

    async def _call(self, method: str, request: Message) -> None:
        await self._answer(f"/canuse.v1.{method}", request.SerializeToString())

    async def _answer(self, path: str, payload: bytes) -> bytes:
        return await self._dispatcher.unary(self._dispatcher.open(path, ()), payload, None)

    async def check(self, path: str, payload: bytes) -> None:
        """Make a call. AssertionError, or any other exception, means that an invariant is broken."""
        self.checked += 1
        if self.checked % CALLS_PER_RESET == 0:
            await self.reset()
        if self._contents is None:
            self._contents = await self._digest()
        planned = self._plan(path, payload)
        refused = None
        try:
            answer = await self._answer(path, payload)
        except ApiError as error:
            refused = error
            assert error.reason.status not in SERVER_FAULTS, error.message
            error.trailing_metadata()
        else:
            if path in BATCHES:
                results = BATCHES[path].FromString(answer).results
                assert all(result.status.code != grpc.StatusCode.INTERNAL.value[0] for result in results)
        if planned is not None:
            assert refused is not None, f"the lane refuses it: {planned.message}"
            assert (planned.reason, planned.message) == (refused.reason, refused.message)
        contents = await self._digest()
        if refused is not None and refused.reason.status == grpc.StatusCode.INVALID_ARGUMENT:
            assert contents == self._contents, "it was bad input, and something was written"
        self._contents = contents

    def _plan(self, path: str, payload: bytes) -> ApiError | None:
        """Plan a call twice as the lane does, which caches it; return the error with which it refuses the call."""
        for number, method in enumerate(HOT_METHODS.values()):
            if method.path == path:
                try:
                    first, second = (self._request_cache.request(number, method, payload) for _ in range(2))
                    assert second.packed == first.packed or not first.plan.cacheable
                except ApiError as error:
                    assert error.reason.status not in SERVER_FAULTS, error.message
                    return error
                except RETRYABLE:
                    return None
        return None

    async def _digest(self) -> bytes:
        """Return a digest of everything in the store."""
        digest: bytes = await self._env.store.admin.execute_command("DEBUG", "DIGEST")  # type: ignore[no-untyped-call]
        return digest
