"""Settings of channels and calls, common to both clients."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias

import grpc

from canuse._arguments import bad_argument, shown
from canuse._retry import Retry
from canuse._safety import SAFETY, Safety, methods
from canuse._tls import Tls
from canuse.errors import BadArgument

DEFAULT_TARGET: Final = "127.0.0.1:50051"
DEFAULT_TIMEOUT_SECONDS: Final = 5.0
DEFAULT_SILENCE_TIMEOUT_SECONDS: Final = 30.0


def service_config(*, retry_uses: bool = False) -> str:
    """Return the gRPC service config: which calls are retried, and load balancing over all servers.

    gRPC accepts it in any language, in Python as the channel option `grpc.service_config`. Reads are retried after
    UNAVAILABLE or CANCELLED, up to three times within the deadline. With `retry_uses`, calls that record uses are too;
    each of them must then have an `event_id`, since after a broken connection it is unknown whether a call was
    processed. Failures of the store are not retried: the server forbids it.
    """
    retried = {Safety.READS, Safety.EVENT_ID} if retry_uses else {Safety.READS}
    names = [
        {"service": method.containing_service.full_name, "method": method.name}
        for method in methods()
        if SAFETY[method.input_type] in retried
    ]
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        # A grpcio server that shuts down sometimes cancels a call in flight.
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    return json.dumps(_BALANCING | {"methodConfig": [{"name": names, "retryPolicy": policy}]})


_BALANCING: Final[dict[str, Any]] = {"loadBalancingConfig": [{"round_robin": {}}]}


_OPTIONS: Final[dict[str, Any]] = {
    # By default gRPC waits a second after the first failure to connect, and up to two minutes after others. That is too
    # long for a call that waits for a server to be restarted, within its deadline.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
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


def client_options(options: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return the options of a client's own channel: without gRPC's retries, which would multiply with the client's."""
    return list((_OPTIONS | {"grpc.service_config": json.dumps(_BALANCING)} | dict(options)).items())


def call_metadata(api_key: Any, durability: Any = None, *, key_name: str = "api_key") -> Metadata:
    """Return the metadata of each call: the API key and the durability, if they are given.

    BadArgument if the key is invalid. It is checked here because gRPC's own message would contain the key.
    """
    metadata: list[tuple[str, str]] = []
    if api_key is not None and api_key != "":
        if not _is_text(api_key) or not all("!" <= character <= "~" for character in api_key):
            raise BadArgument.of(key_name, "an api_key is a str of printable ASCII characters without spaces")
        metadata.append(("authorization", f"Bearer {api_key}"))
    if durability is not None and durability != "":
        if not _is_text(durability) or not (durability.isascii() and durability.isprintable()):
            raise bad_argument("durability", durability, "memory, fsync or replica")
        metadata.append(("canuse-durability", durability))
    return tuple(metadata)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_URL_SCHEMES: Final = frozenset({"http", "https", "grpc", "grpcs"})
"""How the addresses begin that are often taken for one of a gRPC server."""
_SCHEMES: Final = frozenset({"dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock"})
"""The schemes that gRPC accepts without a slash after the colon."""


def check_target(name: str, target: Any) -> str:
    """Return the address of a server; BadArgument if it is invalid."""
    accepted = "host:port with a port from 1 to 65535, dns:///host:port or unix:/path"
    if not isinstance(target, str):
        raise bad_argument(name, target, accepted)
    if target.partition(":")[0].lower() in _URL_SCHEMES:
        raise BadArgument.of(name, f"{shown(target)} is a URL; expected {accepted}")
    host, _, port = target.rpartition(":")
    # What follows a scheme is left to gRPC.
    has_scheme = "/" in target or target.partition(":")[0] in _SCHEMES
    is_host_and_port = bool(host) and (":" not in host or host.endswith("]")) and _is_port(port)
    if not target.isprintable() or " " in target or not (has_scheme or is_host_and_port):
        why = "has no port" if target and ":" not in target else "is not an address of a server"
        raise BadArgument.of(name, f"{shown(target)} {why}; expected {accepted}")
    return target


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535


def check_settings(
    channel_type: type[object], channel: Any, credentials: Any, tls: Any, options: Any, retry: Any
) -> None:
    """Refuse settings of wrong types, settings that the caller's own channel would ignore, and settings in conflict."""
    if channel is not None and not isinstance(channel, channel_type):
        accepted = "grpc.Channel" if channel_type is grpc.Channel else "grpc.aio.Channel"
        raise bad_argument("channel", channel, f"a {accepted}")
    if credentials is not None and not isinstance(credentials, grpc.ChannelCredentials):
        raise bad_argument("credentials", credentials, "a grpc.ChannelCredentials")
    if not isinstance(tls, Tls | bool | None):
        raise bad_argument("tls", tls, "True, False or a canuse.Tls")
    if not isinstance(retry, Retry | bool | None):
        raise bad_argument("retry", retry, "True, False or a canuse.Retry")
    if not isinstance(options, Sequence) or not all(map(_is_option, options)):
        raise bad_argument("options", options, "a list of pairs: the name of a gRPC channel option and its value")
    if channel is not None and (credentials is not None or tls or options):
        raise BadArgument.of("channel", "cannot be combined with credentials, tls or options: set them on the channel")
    if credentials is not None and tls:
        raise BadArgument.of("tls", "cannot be combined with credentials")


def _is_option(pair: Any) -> bool:
    return isinstance(pair, Sequence) and len(pair) == 2 and isinstance(pair[0], str) and pair[1] is not None


def credentials_maker(
    credentials: grpc.ChannelCredentials | None, tls: Tls | bool
) -> Callable[[], grpc.ChannelCredentials | None]:
    """Return what makes the credentials of a channel, None for one without TLS; OSError if a file cannot be read.

    gRPC, which must not be started before a fork, makes them with the first call; the files are read now.
    """
    if tls:
        return (Tls() if tls is True else tls).credentials_maker()
    return lambda: credentials


def retry_policy(retry: Retry | bool | None, *, own_channel: bool) -> Retry | None:
    """Return the policy for retries. By default a channel of the caller's own is left to its own retries."""
    if isinstance(retry, Retry):
        return retry
    return Retry() if retry or (retry is None and not own_channel) else None
