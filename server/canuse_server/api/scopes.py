"""The scopes of which an API key needs one for each method. The table in docs/api.md is generated from it."""

from collections.abc import Mapping
from typing import Final

from canuse_server.domain.api_keys import Scope

_READS_USERS: Final = f"{Scope.CATALOG_READ} {Scope.USERS_WRITE} {Scope.CATALOG_WRITE}"
_WRITES_USERS: Final = f"{Scope.USERS_WRITE} {Scope.CATALOG_WRITE}"

_SERVICES: Final[Mapping[str, Mapping[str, str]]] = {
    "canuse.v1.EntitlementService": {
        Scope.ENTITLEMENTS_READ: "CanUse BatchCanUse ListEntitlements",
        Scope.USAGE_WRITE: "CreateUsageEvent BatchCreateUsageEvents UseFeature UseFeatures Reserve Settle ExtendLease"
        " BatchUseFeature",
    },
    "canuse.v1.UsageService": {
        Scope.ENTITLEMENTS_READ: "ShowUsage ListUsageEvents ListUsageTotals ListLeases",
    },
    "canuse.v1.CatalogService": {
        Scope.CATALOG_READ: "GetFeature ListFeatures GetPackage ListPackages",
        Scope.CATALOG_WRITE: "CreateFeature UpdateFeature ArchiveFeature"
        " CreatePackage UpdatePackage PublishPackage ArchivePackage MigrateSubscriptions ApplyCatalog",
    },
    "canuse.v1.UserService": {
        _READS_USERS: "GetUser ListUsers",
        _WRITES_USERS: "CreateUser UpdateUser EnsureUser GenerateUserToken RevokeUserTokens",
        Scope.CATALOG_WRITE: "DeleteUser",
    },
    "canuse.v1.SubscriptionService": {
        _READS_USERS: "GetSubscription ListSubscriptions ListGrants",
        _WRITES_USERS: "Subscribe UpdateSubscription CancelSubscription CreateGrant RevokeGrant ChangePackage",
    },
    "canuse.v1.ApiKeyService": {
        Scope.KEYS_ADMIN: "CreateApiKey ListApiKeys RevokeApiKey",
    },
    "canuse.v1.AuditService": {
        Scope.KEYS_ADMIN: "ListAuditEntries",
    },
    "envoy.service.ratelimit.v3.RateLimitService": {
        Scope.USAGE_WRITE: "ShouldRateLimit",
    },
    "canuse.testing.v1.ClockService": {
        Scope.KEYS_ADMIN: "GetTime SetTime AdvanceTime",
    },
    "canuse.testing.v1.StoreService": {
        Scope.KEYS_ADMIN: "ResetStore SetStoreAvailability",
    },
}
"""By service: the methods for which one of some scopes is enough."""

PUBLIC_METHODS: Final = {
    "/canuse.v1.EntitlementService/CanUse": "user_id",
    "/canuse.v1.EntitlementService/BatchCanUse": "requests.user_id",
    "/canuse.v1.EntitlementService/ListEntitlements": "user_id",
    "/canuse.v1.UsageService/ShowUsage": "user_id",
}
"""The methods for publishable keys and user tokens, by path: the field of the request that names the user."""

SCOPES: Final[Mapping[str, tuple[Scope, ...]]] = {
    f"/{service}/{method}": tuple(map(Scope, scopes.split()))
    for service, groups in _SERVICES.items()
    for scopes, methods in groups.items()
    for method in methods.split()
}
"""The scopes of which each method needs one, by path. Health and reflection need none and are omitted."""


def paths_for(scopes: frozenset[Scope]) -> frozenset[str]:
    """Return the methods that scopes permit."""
    return frozenset(path for path, enough in SCOPES.items() if not scopes.isdisjoint(enough))
