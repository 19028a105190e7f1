"""Settings of channels and calls, common to both clients."""

import json
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final, Literal, Protocol, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from canuse import v1
from canuse._arguments import bad_argument, shown
from canuse._requests import takes_event_ids
from canuse._tls import Tls
from canuse.errors import BadArgument

DEFAULT_TARGET: Final = "127.0.0.1:50051"
DEFAULT_TIMEOUT_SECONDS: Final = 5.0
DEFAULT_SILENCE_TIMEOUT_SECONDS: Final = 30.0
MAX_SECONDS: Final = 366 * 24 * 60 * 60
"""gRPC ends a call at once if its timeout is some hundred years or infinite, and threads cannot wait that long."""


def _methods() -> list[MethodDescriptor]:
    """Return the methods of the API, ordered by name."""
    modules = (
        module for module in vars(v1).values() if isinstance(module, ModuleType) and hasattr(module, "DESCRIPTOR")
    )
    services = [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]
    return sorted((method for service in services for method in service.methods), key=lambda method: method.full_name)


def _is_retried(method: MethodDescriptor, *, retry_uses: bool) -> bool:
    if method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS:
        return True
    return retry_uses and takes_event_ids(method.input_type)


def service_config(*, retry_uses: bool = False) -> str:
    """Return the gRPC service config: which calls are retried, and load balancing over all servers.

    gRPC accepts it in any language, in Python as the channel option `grpc.service_config`. Reads are retried after
    UNAVAILABLE or CANCELLED, up to three times within the deadline. With `retry_uses`, calls that record uses are too;
    each of them must then have an `event_id`, since after a broken connection it is unknown whether a call was
    processed. Failures of the store are not retried: the server forbids it.
    """
    names = [
        {"service": method.containing_service.full_name, "method": method.name}
        for method in _methods()
        if _is_retried(method, retry_uses=retry_uses)
    ]
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        # A grpcio server that shuts down sometimes cancels a call in flight.
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    config = {"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": [{"name": names, "retryPolicy": policy}]}
    return json.dumps(config)


_OPTIONS: Final[dict[str, Any]] = {
    # By default gRPC waits up to two minutes between attempts to connect, and fails every call in that time. That is
    # too long for a check before each use of a feature.
    "grpc.max_reconnect_backoff_ms": 2_000,
    # A connection that has silently died, behind a firewall or with its machine, is closed after 12 seconds, not after
    # the quarter of an hour that TCP needs. The server of canuse accepts a ping every 5 seconds.
    "grpc.keepalive_time_ms": 8_000,
    "grpc.keepalive_permit_without_calls": 1,
    # This timeout closes the connection. With `grpc.keepalive_timeout_ms` alone, a connection stays open for ever if
    # something on the way still acknowledges it at the TCP level.
    "grpc.http2.ping_timeout_ms": 4_000,
    "grpc.keepalive_timeout_ms": 4_000,
    # Otherwise channels to the same address share a connection, and a new client would get the dead one.
    "grpc.use_local_subchannel_pool": 1,
}


class PagedRequest(Protocol):
    """A request for one page of a list."""

    page_token: str


class PagedResponse(Protocol):
    """One page of a list."""

    next_page_token: str


Durability = Literal["memory", "fsync", "replica"]
Metadata: TypeAlias = tuple[tuple[str, str], ...]


def channel_options(options: Sequence[tuple[str, Any]] = (), *, retry_uses: bool = False) -> list[tuple[str, Any]]:
    """Return the clients' channel options, for your own channel; the given options override them.

    They are the `service_config` with its retries, and keepalive: a connection that has silently died is closed within
    12 seconds. Channels do not share connections.

        channel = grpc.aio.insecure_channel(target, canuse.channel_options())
    """
    standard = {"grpc.service_config": service_config(retry_uses=retry_uses)}
    return list((_OPTIONS | standard | dict(options)).items())


def call_metadata(api_key: Any, durability: Any = None) -> Metadata:
    """Return the metadata of each call: the API key and the durability, if they are given.

    BadArgument if the key is invalid. It is checked here because gRPC's own message would contain the key.
    """
    metadata: list[tuple[str, str]] = []
    if api_key is not None and api_key != "":
        if not _is_text(api_key) or not all("!" <= character <= "~" for character in api_key):
            raise BadArgument.of("api_key", "an api_key is a str of printable ASCII characters without spaces")
        metadata.append(("authorization", f"Bearer {api_key}"))
    if durability is not None and durability != "":
        if not _is_text(durability) or not (durability.isascii() and durability.isprintable()):
            raise bad_argument("durability", durability, "memory, fsync or replica")
        metadata.append(("canuse-durability", durability))
    return tuple(metadata)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def positive(name: str, seconds: Any) -> float:
    """Return a number of seconds; BadArgument unless it is above zero and at most `MAX_SECONDS`."""
    accepted = f"a number of seconds above 0 and at most {MAX_SECONDS}"
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise bad_argument(name, seconds, accepted)
    if not 0 < seconds <= MAX_SECONDS:
        raise BadArgument.of(name, f"{shown(seconds)} is not {accepted}")
    return float(seconds)


_SCHEMES: Final = frozenset({"dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock"})
"""The schemes that gRPC accepts without a slash after the colon."""


def check_target(target: Any) -> str:
    """Return the address of a server; BadArgument if it is invalid."""
    accepted = "host:port with a port from 1 to 65535, dns:///host:port or unix:/path"
    if not isinstance(target, str):
        raise bad_argument("target", target, accepted)
    host, _, port = target.rpartition(":")
    # An address with a scheme, and a name without a port, which has gRPC's default, are left to gRPC.
    has_scheme = "/" in target or target.partition(":")[0] in _SCHEMES
    is_host_and_port = ":" in target and not has_scheme and (":" not in host or host.endswith("]"))
    bad_port = is_host_and_port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535)
    if not target or not target.isprintable() or " " in target or target.startswith(":") or bad_port:
        raise BadArgument.of("target", f"{target!r} is not an address of a server; expected {accepted}")
    return target


def check_settings(
    channel_type: type[object], channel: Any, credentials: Any, tls: Any, options: Any, retry_uses: Any
) -> None:
    """Refuse settings of wrong types, settings that the caller's own channel would ignore, and settings in conflict."""
    if channel is not None and not isinstance(channel, channel_type):
        accepted = "grpc.Channel" if channel_type is grpc.Channel else "grpc.aio.Channel"
        raise bad_argument("channel", channel, f"a {accepted}")
    if credentials is not None and not isinstance(credentials, grpc.ChannelCredentials):
        raise bad_argument("credentials", credentials, "a grpc.ChannelCredentials")
    if not isinstance(tls, Tls | bool):
        raise bad_argument("tls", tls, "True, False or a canuse.Tls")
    if not isinstance(retry_uses, bool):
        raise bad_argument("retry_uses", retry_uses, "True or False")
    if not isinstance(options, Sequence) or not all(map(_is_option, options)):
        raise bad_argument("options", options, "a list of pairs: the name of a gRPC channel option and its value")
    if channel is not None and (credentials is not None or tls or options):
        raise BadArgument.of("channel", "cannot be combined with credentials, tls or options: set them on the channel")
    if credentials is not None and tls:
        raise BadArgument.of("tls", "cannot be combined with credentials")


def _is_option(pair: Any) -> bool:
    return isinstance(pair, Sequence) and len(pair) == 2 and isinstance(pair[0], str) and pair[1] is not None


def channel_credentials(credentials: grpc.ChannelCredentials | None, tls: Tls | bool) -> grpc.ChannelCredentials | None:
    """Return the credentials of a channel, None for one without TLS; OSError if a file cannot be read."""
    if tls:
        return (Tls() if tls is True else tls).credentials()
    return credentials
