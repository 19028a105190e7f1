"""A request for every method of the server, with its outcome in the environment it is about and in the other one.

Each request refers to objects that exist in `live` and not in `test`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodDescriptorProto
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from canuse import v1
from canuse.testing import v1 as testing
from support.authenticated_server import LIVE, SCOPES
from support.message_clients import Client
from support.rate_limits import Request, descriptor
from support.resources import binary, consumable, grant, package, unique

OK: Final = "OK"
NOT_SERVED: Final = "/grpc.health.v1.Health/List"
"""Reflection describes health with the library's definitions, which have this method; the server does not implement it.
"""


class Row(NamedTuple):
    """A request, its outcome in `live` and its outcome in `test`: `OK`, or the reason of the error."""

    request: Message
    live: str
    test: str


@dataclass(frozen=True)
class Method:
    """A method as the server describes it."""

    path: str
    client_streaming: bool
    server_streaming: bool

    def call(self, channel: grpc.Channel, payload: bytes, authorization: str | None) -> bytes:
        """Call it with one request; return the first message of the answer."""
        metadata = () if authorization is None else (("authorization", authorization),)
        if self.client_streaming:
            both: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(self.path)
            return next(both(iter([payload]), metadata=metadata, timeout=30))
        if self.server_streaming:
            stream: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(self.path)
            call = stream(payload, metadata=metadata, timeout=30)
            answer: bytes = next(iter(call))
            call.cancel()
            return answer
        unary: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(self.path)
        return unary(payload, metadata=metadata, timeout=30)


def methods(channel: grpc.Channel) -> dict[str, Method]:
    """Return all methods of a server by path, found through reflection."""
    found = {method.path: method for method in _methods(reflection_pb2_grpc.ServerReflectionStub(channel))}
    unserved = found.pop(NOT_SERVED)
    try:
        unserved.call(channel, b"", None)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED
        return found
    raise AssertionError(f"{NOT_SERVED} is served by now, and belongs to the others")


def _methods(stub: reflection_pb2_grpc.ServerReflectionStub) -> Iterator[Method]:
    [listed] = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    for service in listed.list_services_response.service:
        for method in _described(stub, service.name):
            yield Method(f"/{service.name}/{method.name}", method.client_streaming, method.server_streaming)


def _described(stub: reflection_pb2_grpc.ServerReflectionStub, service: str) -> list[MethodDescriptorProto]:
    [answer] = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol=service)]))
    for packed in answer.file_descriptor_response.file_descriptor_proto:
        file = FileDescriptorProto.FromString(packed)
        for described in file.service:
            if f"{file.package}.{described.name}" == service:
                return list(described.method)
    raise AssertionError(f"reflection lists {service}, and does not describe it")


def rows(live: Client) -> dict[str, Row]:
    """Create the objects that the requests refer to; return a row for each method, by path."""
    feature, binary_feature, unused = consumable(live), binary(live), consumable(live)
    entry = v1.PackageFeature(feature_id=feature, limit=100, reset_period=v1.RESET_PERIOD_MONTH)
    plan, existing = package(live, [entry]), package(live, [entry])
    draft, archivable = (live.create_package(unique("package"), []).id for _ in range(2))
    user, subscriber, erased, taken = (live.create_user(unique("user")).id for _ in range(4))
    [subscription] = live.subscribe(user, [plan])
    grant_id = grant(live, user, feature, 5)
    lease, other_lease = (live.reserve(user, feature, 1).lease_id for _ in range(2))
    key = live.create_api_key("to be revoked", SCOPES, environment=LIVE).api_key.id

    new_grant = v1.Grant(id=unique("grant"), user_id=user, feature_id=feature, amount=1)
    event = v1.CreateUsageEventRequest(user_id=user, feature_id=feature)
    check = v1.CanUseRequest(user_id=user, feature_id=feature)
    charges = [v1.Charge(feature_id=feature)]
    found: dict[str, dict[str, Row]] = {
        "canuse.v1.EntitlementService": {
            "CanUse": Row(check, OK, "FEATURE_NOT_FOUND"),
            "BatchCanUse": Row(v1.BatchCanUseRequest(requests=[check]), OK, OK),
            "CreateUsageEvent": Row(event, OK, "FEATURE_NOT_FOUND"),
            "BatchCreateUsageEvents": Row(v1.BatchCreateUsageEventsRequest(requests=[event]), OK, OK),
            "BatchUseFeature": Row(
                v1.BatchUseFeatureRequest(requests=[v1.UseFeatureRequest(user_id=user, feature_id=feature)]), OK, OK
            ),
            "UseFeature": Row(v1.UseFeatureRequest(user_id=user, feature_id=feature), OK, "FEATURE_NOT_FOUND"),
            "UseFeatures": Row(v1.UseFeaturesRequest(user_id=user, charges=charges), OK, "FEATURE_NOT_FOUND"),
            "ListEntitlements": Row(v1.ListEntitlementsRequest(user_id=user), OK, "USER_NOT_FOUND"),
            "Reserve": Row(v1.ReserveRequest(user_id=user, feature_id=feature, amount=1), OK, "FEATURE_NOT_FOUND"),
            "ExtendLease": Row(v1.ExtendLeaseRequest(lease_id=other_lease, amount=1), OK, "LEASE_NOT_FOUND"),
            "Settle": Row(v1.SettleRequest(lease_id=lease, used=1), OK, "LEASE_NOT_FOUND"),
        },
        "canuse.v1.UsageService": {
            "ShowUsage": Row(v1.ShowUsageRequest(user_id=user, feature_id=feature), OK, "FEATURE_NOT_FOUND"),
            "ListUsageEvents": Row(v1.ListUsageEventsRequest(user_id=user), OK, "USER_NOT_FOUND"),
            "ListLeases": Row(v1.ListLeasesRequest(user_id=user), OK, "USER_NOT_FOUND"),
            "ListUsageTotals": Row(v1.ListUsageTotalsRequest(feature_id=feature), OK, "FEATURE_NOT_FOUND"),
        },
        "canuse.v1.CatalogService": {
            "CreateFeature": Row(
                v1.CreateFeatureRequest(feature=v1.Feature(id=binary_feature, type=v1.FEATURE_TYPE_BINARY)),
                "FEATURE_EXISTS",
                OK,
            ),
            "GetFeature": Row(v1.GetFeatureRequest(feature_id=feature), OK, "FEATURE_NOT_FOUND"),
            "UpdateFeature": Row(
                v1.UpdateFeatureRequest(feature=v1.Feature(id=feature, name="new")), OK, "FEATURE_NOT_FOUND"
            ),
            "ListFeatures": Row(v1.ListFeaturesRequest(page_size=1000), OK, OK),
            "ArchiveFeature": Row(v1.ArchiveFeatureRequest(feature_id=unused), OK, "FEATURE_NOT_FOUND"),
            "CreatePackage": Row(
                v1.CreatePackageRequest(package=v1.Package(id=existing, type=v1.PACKAGE_TYPE_BASE)),
                "PACKAGE_EXISTS",
                OK,
            ),
            "GetPackage": Row(v1.GetPackageRequest(package_id=draft), OK, "PACKAGE_NOT_FOUND"),
            "UpdatePackage": Row(
                v1.UpdatePackageRequest(package=v1.Package(id=draft, name="new")), OK, "PACKAGE_NOT_FOUND"
            ),
            "ListPackages": Row(v1.ListPackagesRequest(page_size=1000), OK, OK),
            "PublishPackage": Row(v1.PublishPackageRequest(package_id=draft), OK, "PACKAGE_NOT_FOUND"),
            "ArchivePackage": Row(v1.ArchivePackageRequest(package_id=archivable), OK, "PACKAGE_NOT_FOUND"),
            "MigrateSubscriptions": Row(
                v1.MigrateSubscriptionsRequest(package_id=plan, dry_run=True), OK, "PACKAGE_NOT_FOUND"
            ),
            "ApplyCatalog": Row(
                v1.ApplyCatalogRequest(packages=[v1.Package(id=plan, features=[entry])]), OK, "FEATURE_NOT_FOUND"
            ),
        },
        "canuse.v1.UserService": {
            "CreateUser": Row(v1.CreateUserRequest(user=v1.User(id=taken)), "USER_EXISTS", OK),
            "GetUser": Row(v1.GetUserRequest(user_id=user), OK, "USER_NOT_FOUND"),
            "UpdateUser": Row(v1.UpdateUserRequest(user=v1.User(id=user, name="new")), OK, "USER_NOT_FOUND"),
            "ListUsers": Row(v1.ListUsersRequest(page_size=1000), OK, OK),
            "EnsureUser": Row(
                v1.EnsureUserRequest(user=v1.User(id=user, name="new"), package_id=plan), OK, "PACKAGE_NOT_FOUND"
            ),
            "DeleteUser": Row(v1.DeleteUserRequest(user_id=erased), OK, "USER_NOT_FOUND"),
            "GenerateUserToken": Row(v1.GenerateUserTokenRequest(user_id=subscriber), OK, "USER_NOT_FOUND"),
            "RevokeUserTokens": Row(v1.RevokeUserTokensRequest(user_id=subscriber), OK, "USER_NOT_FOUND"),
        },
        "canuse.v1.SubscriptionService": {
            "Subscribe": Row(v1.SubscribeRequest(user_id=subscriber, package_ids=[plan]), OK, "USER_NOT_FOUND"),
            "GetSubscription": Row(
                v1.GetSubscriptionRequest(subscription_id=subscription.id), OK, "SUBSCRIPTION_NOT_FOUND"
            ),
            "ListSubscriptions": Row(v1.ListSubscriptionsRequest(user_id=user), OK, "USER_NOT_FOUND"),
            "UpdateSubscription": Row(
                v1.UpdateSubscriptionRequest(
                    subscription=v1.Subscription(id=subscription.id, status=v1.SUBSCRIPTION_STATUS_ACTIVE)
                ),
                OK,
                "SUBSCRIPTION_NOT_FOUND",
            ),
            "CancelSubscription": Row(
                v1.CancelSubscriptionRequest(subscription_id=subscription.id, at_period_end=True),
                OK,
                "SUBSCRIPTION_NOT_FOUND",
            ),
            "CreateGrant": Row(v1.CreateGrantRequest(grant=new_grant), OK, "FEATURE_NOT_FOUND"),
            "ListGrants": Row(v1.ListGrantsRequest(user_id=user), OK, "USER_NOT_FOUND"),
            "RevokeGrant": Row(v1.RevokeGrantRequest(user_id=user, grant_id=grant_id), OK, "USER_NOT_FOUND"),
            "ChangePackage": Row(v1.ChangePackageRequest(user_id=user, package_id=existing), OK, "USER_NOT_FOUND"),
        },
        "canuse.v1.ApiKeyService": {
            "CreateApiKey": Row(
                v1.CreateApiKeyRequest(api_key=v1.ApiKey(name="n", environment=LIVE, scopes=["usage:write"])),
                OK,
                "ENVIRONMENT_MISMATCH",
            ),
            "ListApiKeys": Row(v1.ListApiKeysRequest(page_size=1000), OK, OK),
            "RevokeApiKey": Row(v1.RevokeApiKeyRequest(api_key_id=key), OK, "API_KEY_NOT_FOUND"),
        },
        "canuse.v1.AuditService": {
            "ListAuditEntries": Row(v1.ListAuditEntriesRequest(page_size=1000), OK, OK),
        },
        "envoy.service.ratelimit.v3.RateLimitService": {
            "ShouldRateLimit": Row(
                Request(domain="canuse", descriptors=[descriptor(user, feature)]), OK, "ENVIRONMENT_MISMATCH"
            ),
        },
        # There is one clock for both environments.
        "canuse.testing.v1.ClockService": {
            "GetTime": Row(testing.GetTimeRequest(), OK, OK),
            "SetTime": Row(testing.SetTimeRequest(), "INVALID_FIELD", "INVALID_FIELD"),
            "AdvanceTime": Row(testing.AdvanceTimeRequest(), OK, OK),
        },
        # There is one store for both environments.
        "canuse.testing.v1.StoreService": {
            "ResetStore": Row(testing.ResetStoreRequest(time=Timestamp(seconds=-1)), "INVALID_FIELD", "INVALID_FIELD"),
            "SetStoreAvailability": Row(testing.SetStoreAvailabilityRequest(available=True), OK, OK),
        },
        # These are open to everybody.
        "grpc.health.v1.Health": {
            "Check": Row(health_pb2.HealthCheckRequest(), OK, OK),
            "Watch": Row(health_pb2.HealthCheckRequest(), OK, OK),
        },
        "grpc.reflection.v1.ServerReflection": {
            "ServerReflectionInfo": Row(reflection_pb2.ServerReflectionRequest(list_services=""), OK, OK)
        },
        "grpc.reflection.v1alpha.ServerReflection": {
            "ServerReflectionInfo": Row(reflection_pb2.ServerReflectionRequest(list_services=""), OK, OK)
        },
    }
    return {f"/{service}/{name}": row for service, named in found.items() for name, row in named.items()}
