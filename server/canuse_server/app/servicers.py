"""The handlers of all methods: a servicer for each service."""

from types import ModuleType

from canuse.testing.v1 import clock_service_pb2, store_service_pb2
from canuse.v1 import (
    api_key_service_pb2,
    audit_service_pb2,
    catalog_service_pb2,
    entitlement_service_pb2,
    subscription_service_pb2,
    usage_service_pb2,
    user_service_pb2,
)
from canuse_server.api.endpoints import Handlers, handlers_of
from canuse_server.api.environment import Environments
from canuse_server.api.services.api_keys import ApiKeyServicer
from canuse_server.api.services.audit import AuditServicer
from canuse_server.api.services.catalog_service.servicer import CatalogServicer
from canuse_server.api.services.entitlements import EntitlementServicer
from canuse_server.api.services.subscription_service.servicer import SubscriptionServicer
from canuse_server.api.services.testing.clock import ClockServicer
from canuse_server.api.services.testing.store import StoreServicer
from canuse_server.api.services.usage import UsageServicer
from canuse_server.api.services.users import UserServicer
from canuse_server.app.demo import load_demo
from canuse_server.app.startup import reset_store
from canuse_server.auth.access import Access
from canuse_server.envoy import rate_limit_service_pb2
from canuse_server.runtime.fairness import PageScheduler
from canuse_server.settings import Settings
from canuse_server.store.repositories.manual_clock import ManualClock


def store_servicer(settings: Settings, environments: Environments, access: Access) -> StoreServicer | None:
    """Return the service that deletes all data: only for tests, and never for a store that others may use."""
    if settings.clock != "manual" or settings.redis_url is not None:
        return None

    async def reset(time_ms: int) -> None:
        await reset_store(environments, access, time_ms)
        if settings.demo:
            await load_demo(environments.live)

    return StoreServicer(environments.live.store.guard, reset)


def all_handlers(access: Access, clock: ManualClock | None, store: StoreServicer | None = None) -> Handlers:
    """Return the handlers. Without a manual clock there are none that move it."""
    api_keys = ApiKeyServicer(access.keys, access.key_cache.refresh, publishable_keys=access.publishable_keys)
    servicers: list[tuple[ModuleType, str, object]] = [
        (entitlement_service_pb2, "EntitlementService", EntitlementServicer()),
        (catalog_service_pb2, "CatalogService", CatalogServicer()),
        (user_service_pb2, "UserService", UserServicer(access.authorizer.tokens)),
        (subscription_service_pb2, "SubscriptionService", SubscriptionServicer()),
        (usage_service_pb2, "UsageService", UsageServicer()),
        (api_key_service_pb2, "ApiKeyService", api_keys),
        (audit_service_pb2, "AuditService", AuditServicer()),
        # All its methods are hot methods.
        (rate_limit_service_pb2, "RateLimitService", object()),
    ]
    if clock is not None:
        servicers.append((clock_service_pb2, "ClockService", ClockServicer(clock)))
    if store is not None:
        servicers.append((store_service_pb2, "StoreService", store))
    handlers, pages = Handlers({}, {}), PageScheduler()
    for module, service, servicer in servicers:
        methods = handlers_of(module.DESCRIPTOR.services_by_name[service], servicer, pages)
        handlers.unary.update(methods.unary)
        handlers.streaming.update(methods.streaming)
    return handlers
