"""The settings of a client, its connection, and its end."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from canuse import v1
from canuse._async.transport import Channel, Transport, open_channel
from canuse._channel import (
    DEFAULT_SILENCE_TIMEOUT_SECONDS,
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT_SECONDS,
    Durability,
    call_metadata,
    channel_credentials,
    channel_options,
    check_settings,
    check_target,
    positive,
)
from canuse._tls import Tls


class BaseClient(Transport):
    """The settings of a client, its connection, and the stubs that its methods call."""

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        silence_timeout_seconds: float = DEFAULT_SILENCE_TIMEOUT_SECONDS,
        api_key: str | None = None,
        durability: Durability | None = None,
        tls: Tls | bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        channel: Channel | None = None,
        options: Sequence[tuple[str, Any]] = (),
        retry_uses: bool = False,
    ) -> None:
        """Prepare a client; the first call connects.

        Args:
            target: The server's address, in gRPC's syntax: `host:port`, `dns:///host:port`, `unix:/path`.
            timeout_seconds: Deadline of one call (of a list: one page).
            silence_timeout_seconds: Maximum time between two messages of a stream (`migrate_subscriptions`).
            api_key: Sent with each call as `authorization: Bearer …`. Over a network, use it only with `tls`.
            durability: What a write must reach before it is acknowledged, if the server requires less: `fsync` is the
                store's append-only file, `replica` its replicas. A write that does not reach it is OutcomeUnknown.
            tls: True for TLS with a server certified by a public CA, otherwise a `Tls` with the files.
            credentials: gRPC credentials in place of `tls`, such as `grpc.ssl_channel_credentials()`.
            channel: Your own channel in place of `target`, `tls`, `credentials` and `options`. `close` leaves it open.
            options: gRPC channel options, which override those of `canuse.channel_options`.
            retry_uses: Retry calls that record uses, too, if the service does not answer. Each such call gets an
                `event_id` unless it has one, so that it counts once. Your own channel needs its own retries.

        Raises:
            BadArgument: A setting is invalid, or cannot be combined with another; the error names it.
            OSError: A file of `tls` cannot be read.
        """
        check_settings(Channel, channel, credentials, tls, options, retry_uses)
        metadata = call_metadata(api_key, durability)
        timeout_seconds = positive("timeout_seconds", timeout_seconds)
        silence_timeout_seconds = positive("silence_timeout_seconds", silence_timeout_seconds)
        self._owned_channel = None
        if channel is None:
            channel = self._owned_channel = open_channel(
                check_target(target),
                channel_credentials(credentials, tls),
                channel_options(options, retry_uses=retry_uses),
            )
        super().__init__(channel, metadata, timeout_seconds, silence_timeout_seconds, give_event_ids=retry_uses)
        self._entitlements = v1.EntitlementServiceStub(channel)
        self._usage = v1.UsageServiceStub(channel)
        self._catalog = v1.CatalogServiceStub(channel)
        self._users = v1.UserServiceStub(channel)
        self._subscriptions = v1.SubscriptionServiceStub(channel)
        self._api_keys = v1.ApiKeyServiceStub(channel)

    async def close(self) -> None:
        """Close the connection; calls in flight raise ClientClosed. A channel that was passed in stays open."""
        if self._owned_channel is not None:
            await self._owned_channel.close()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()
