"""What both clients need to know to open a channel and to send a call."""

import json
from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

import grpc

from canuse._tls import Tls

DEFAULT_TARGET: Final = "127.0.0.1:50051"
DEFAULT_TIMEOUT_SECONDS: Final = 5.0

_READS: Final = {
    "EntitlementService": ("CanUse", "BatchCanUse", "ListEntitlements"),
    "UsageService": ("ShowUsage", "ListUsageEvents"),
    "CatalogService": ("GetFeature", "ListFeatures", "GetPackage", "ListPackages"),
    "UserService": ("GetUser", "ListUsers"),
    "SubscriptionService": ("GetSubscription", "ListSubscriptions", "ListGrants"),
    "ApiKeyService": ("ListApiKeys",),
}
_USES: Final = {
    "EntitlementService": (
        "CreateUsageEvent",
        "UseFeature",
        "UseFeatures",
        "BatchCreateUsageEvents",
        "Reserve",
        "Settle",
    ),
    "SubscriptionService": ("Subscribe",),
}


def service_config(*, retry_uses: bool = False) -> str:
    """Return the standard gRPC service config: which calls are repeated, and that all servers take turns.

    gRPC in any language takes it, in Python as the channel option `grpc.service_config`. What only reads is repeated
    after UNAVAILABLE or CANCELLED, up to three times within its deadline. With `retry_uses` so is what counts; that is
    right only where each such call has an `event_id`: when a connection breaks nobody knows whether the call was made.
    What the store is to blame for is not repeated, since the server says so.
    """
    names = [
        {"service": f"canuse.v1.{service}", "method": method}
        for services in ((_READS, _USES) if retry_uses else (_READS,))
        for service, methods in services.items()
        for method in methods
    ]
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        # A grpcio server that ends now and then cancels a call that is under way.
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    config = {"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": [{"name": names, "retryPolicy": policy}]}
    return json.dumps(config)


# gRPC waits up to two minutes between attempts to connect, and meanwhile fails every call at once: too long for a
# question that is asked before each use of a feature.
_OPTIONS: Final[dict[str, Any]] = {"grpc.max_reconnect_backoff_ms": 2_000}


class PagedRequest(Protocol):
    """A request for one page of a list."""

    page_token: str


class PagedResponse(Protocol):
    """One page of a list."""

    next_page_token: str


Durability = Literal["memory", "fsync", "replica"]


def channel_options(options: Sequence[tuple[str, Any]], *, retry_uses: bool = False) -> list[tuple[str, Any]]:
    """Return the options of a channel: the given ones, over our defaults."""
    standard = {"grpc.service_config": service_config(retry_uses=retry_uses)}
    return list((_OPTIONS | standard | dict(options)).items())


def call_metadata(api_key: str | None, durability: Durability | None = None) -> tuple[tuple[str, str], ...]:
    """Return the metadata of each call: the API key and the durability, where they are given.

    ValueError if a key can't be one. It is checked here because gRPC would put the whole key into its message.
    """
    metadata: list[tuple[str, str]] = []
    if api_key:
        if not all("!" <= character <= "~" for character in api_key):
            raise ValueError("api_key: only printable ASCII characters without spaces are accepted")
        metadata.append(("authorization", f"Bearer {api_key}"))
    if durability:
        metadata.append(("canuse-durability", durability))
    return tuple(metadata)


def positive(name: str, seconds: float) -> float:
    """Return a number of seconds; ValueError unless it is above zero."""
    if not seconds > 0:
        raise ValueError(f"{name}: {seconds!r} is not above zero")
    return seconds


def check_channel(
    channel: object, credentials: grpc.ChannelCredentials | None, tls: Tls | bool, options: Sequence[object]
) -> None:
    """Refuse settings that a channel of the caller's own, or one another, would silently ignore."""
    if channel is not None and (credentials is not None or tls or options):
        raise ValueError("credentials, tls and options belong to the channel: give them to it, or leave out `channel`")
    if credentials is not None and tls:
        raise ValueError("tls and credentials: give one of them")


def channel_credentials(credentials: grpc.ChannelCredentials | None, tls: Tls | bool) -> grpc.ChannelCredentials | None:
    """Return what a channel is opened with, None for one without TLS; raises OSError where a file can't be read."""
    if tls:
        return (Tls() if tls is True else tls).credentials()
    return credentials
