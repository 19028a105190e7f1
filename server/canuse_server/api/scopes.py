"""The scope that an API key needs for each method. The table in docs/api.md is generated from it."""

from collections.abc import Mapping
from typing import Final

from canuse_server.domain.api_keys import Scope

_SERVICES: Final[Mapping[str, Mapping[Scope, str]]] = {
    "canuse.v1.EntitlementService": {
        Scope.ENTITLEMENTS_READ: "CanUse BatchCanUse ListEntitlements",
        Scope.USAGE_WRITE: "CreateUsageEvent BatchCreateUsageEvents UseFeature UseFeatures Reserve Settle",
    },
    "canuse.v1.UsageService": {
        Scope.ENTITLEMENTS_READ: "ShowUsage ListUsageEvents",
    },
    "canuse.v1.CatalogService": {
        Scope.CATALOG_READ: "GetFeature ListFeatures GetPackage ListPackages",
        Scope.CATALOG_WRITE: "CreateFeature UpdateFeature ArchiveFeature"
        " CreatePackage UpdatePackage PublishPackage ArchivePackage MigrateSubscriptions",
    },
    "canuse.v1.UserService": {
        Scope.CATALOG_READ: "GetUser ListUsers",
        Scope.CATALOG_WRITE: "CreateUser UpdateUser DeleteUser",
    },
    "canuse.v1.SubscriptionService": {
        Scope.CATALOG_READ: "GetSubscription ListSubscriptions ListGrants",
        Scope.CATALOG_WRITE: "Subscribe UpdateSubscription CancelSubscription CreateGrant RevokeGrant",
    },
    "canuse.v1.ApiKeyService": {
        Scope.KEYS_ADMIN: "CreateApiKey ListApiKeys RevokeApiKey",
    },
    "envoy.service.ratelimit.v3.RateLimitService": {
        Scope.USAGE_WRITE: "ShouldRateLimit",
    },
    "canuse.testing.v1.ClockService": {
        Scope.KEYS_ADMIN: "GetTime SetTime AdvanceTime",
    },
}

SCOPES: Final[Mapping[str, Scope]] = {
    f"/{service}/{method}": scope
    for service, scopes in _SERVICES.items()
    for scope, methods in scopes.items()
    for method in methods.split()
}
"""The scope that each method needs, by path. Health and reflection need none and are omitted."""


def paths_for(scopes: frozenset[Scope]) -> frozenset[str]:
    """Return the methods that scopes permit."""
    return frozenset(path for path, scope in SCOPES.items() if scope in scopes)
