"""The parts of the OpenAPI document that protos/ does not have: headers, errors, and examples of requests."""

from collections.abc import Mapping
from typing import Any, Final

from canuse_server.domain.durability import LEVELS
from canuse_server.transport.http.errors import CODES

EXAMPLES: Final[Mapping[str, Any]] = {
    "userId": "124",
    "featureId": "messages",
    "packageId": "pro",
    "packageIds": ["pro"],
    "grantId": "welcome",
    "subscriptionId": "sub_…",
    "leaseId": "lease_…",
    "apiKeyId": "key_…",
    "canuse.v1.ArchiveFeatureRequest.featureId": "exports",
    "canuse.v1.ArchivePackageRequest.packageId": "team",
    "canuse.v1.PublishPackageRequest.packageId": "team",
    "canuse.v1.DeleteUserRequest.userId": "300",
    "canuse.v1.SettleRequest.used": "1",
    "canuse.v1.UpdateSubscriptionRequest.subscription": {"id": "sub_…", "status": "SUBSCRIPTION_STATUS_PAST_DUE"},
    "canuse.v1.User.id": "300",
    "canuse.v1.Feature.id": "exports",
    "canuse.v1.Feature.type": "FEATURE_TYPE_CONSUMABLE",
    "canuse.v1.Package.id": "team",
    "canuse.v1.PackageFeature.featureId": "messages",
    "canuse.v1.Charge.featureId": "messages",
    "canuse.v1.Grant.id": "welcome",
    "canuse.v1.Grant.userId": "124",
    "canuse.v1.Grant.amount": "10",
    "canuse.v1.ReserveRequest.amount": "1",
    "canuse.v1.ApiKey.name": "billing",
    "canuse.v1.ApiKey.scopes": ["entitlements:read"],
    "canuse.v1.ApiKey.environment": "ENVIRONMENT_LIVE",
    "canuse.v1.CreatePackageRequest.package": {"id": "team"},
    "canuse.v1.UpdatePackageRequest.package": {"id": "pro", "name": "Pro"},
    "canuse.v1.UpdateFeatureRequest.feature": {"id": "messages", "name": "Messages"},
    "canuse.v1.UpdateUserRequest.user": {"id": "124", "name": "Ada"},
    "canuse.testing.v1.AdvanceTimeRequest.duration": "3600s",
}
"""Values of fields in the examples of requests, by full or short name. Ids are those of the example data, or end with
an ellipsis where only the server knows them."""
PARAMETERS: Final[dict[str, Any]] = {
    "timeout": {
        "name": "Connect-Timeout-Ms",
        "in": "header",
        "description": "How long the caller waits, in milliseconds. Default: 30 seconds.",
        "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,9}$"},
    },
    "durability": {
        "name": "Canuse-Durability",
        "in": "header",
        "description": "What the write must have reached before it is confirmed. Default: what the server promises.",
        "schema": {"type": "string", "enum": list(LEVELS)},
    },
    "encoding": {
        "name": "encoding",
        "in": "query",
        "required": True,
        "description": "The form of `message`.",
        "schema": {"type": "string", "enum": ["json"]},
    },
}
ERROR: Final[dict[str, Any]] = {
    "description": "Why a call failed. docs/errors.md lists what `reason` can be in the detail google.rpc.ErrorInfo.",
    "type": "object",
    "properties": {
        "code": {"type": "string", "enum": [code.name for code in CODES.values()]},
        "message": {"description": "What is wrong, for people.", "type": "string"},
        "details": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "type": {"description": "The name of a message.", "type": "string"},
                    "value": {"description": "The message in base64, without padding.", "type": "string"},
                    "debug": {"description": "The message as JSON.", "type": "object"},
                },
                "required": ["type", "value"],
            },
        },
    },
    "required": ["code", "message"],
}
