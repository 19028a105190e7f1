"""The settings of a client, its connection, and its end."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc

from canuse import _environment
from canuse._arguments import bad_argument, positive
from canuse._async.attached import UsesRecorder
from canuse._async.batching import batched_stubs
from canuse._async.channel import Channel, open_channel
from canuse._async.connection import Connections
from canuse._async.lending import in_thread, open_leases
from canuse._async.stubs import Stubs
from canuse._async.transport import Transport
from canuse._channel import (
    DEFAULT_SILENCE_TIMEOUT_SECONDS,
    DEFAULT_TIMEOUT_SECONDS,
    Durability,
    check_settings,
    client_options,
    credentials_maker,
    retry_policy,
)
from canuse._retry import Retry
from canuse._tls import Tls
from canuse._unavailable import NOTHING, Fallback, Fallbacks
from canuse.errors import CanuseError
from canuse.leases import NO_LEASES, HeldLeases, Lease, check_leases

if TYPE_CHECKING:
    from canuse.leases.calls import Record
    from canuse.leases.worker import Worker


class BaseClient(Transport):
    """The settings of a client, its connection, and the stubs that its methods call."""

    def __init__(
        self,
        target: str | None = None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        silence_timeout_seconds: float = DEFAULT_SILENCE_TIMEOUT_SECONDS,
        api_key: str | None = None,
        durability: Durability | None = None,
        tls: Tls | bool | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        channel: Channel | None = None,
        options: Sequence[tuple[str, Any]] = (),
        retry: Retry | bool | None = None,
        unavailable: Mapping[str, Fallback] = NOTHING,
        unavailable_default: Fallback | None = None,
        batching: bool = False,
        leases: Mapping[str, Lease] = NO_LEASES,
    ) -> None:
        """Prepare a client; the first call connects.

        Args:
            target: The server's address, in gRPC's syntax: `host:port`, `dns:///host:port`, `unix:/path`. Default: the
                environment variable CANUSE_SERVER, otherwise `127.0.0.1:50051`.
            timeout_seconds: Deadline of one call with its retries (of a list: one page).
            silence_timeout_seconds: Maximum time between two messages of a stream (`migrate_subscriptions`).
            api_key: Sent with each call as `authorization: Bearer …`. Over a network, use it only with `tls`. Default:
                CANUSE_API_KEY; an empty key sends none.
            durability: What a write must reach before it is acknowledged, if the server requires less: `fsync` is the
                store's append-only file, `replica` its replicas. A write that does not reach it is OutcomeUnknown.
            tls: True for TLS with a server certified by a public CA, otherwise a `Tls` with the files. Default: the
                files that CANUSE_CLIENT_TLS_CA, CANUSE_CLIENT_TLS_CERTIFICATE and CANUSE_CLIENT_TLS_KEY name, or
                CANUSE_CLIENT_TLS.
            credentials: gRPC credentials in place of `tls`, such as `grpc.ssl_channel_credentials()`.
            channel: Your own channel in place of `target`, `tls`, `credentials` and `options`. `close` leaves it open.
            options: gRPC channel options, which override those of `canuse.channel_options`.
            retry: How calls are repeated if the service does not answer; see `canuse.Retry`. True: with its defaults.
                False: never. Default: True, but False with your own channel, which may have retries of its own.
            unavailable: What to answer to checks of a feature, by its id, if the service does not answer in time:
                "deny", "allow", "last_known" (by the counts that this client last saw, at most 5 minutes ago, otherwise
                no), or "raise" for the error. It is visible in the answer's `failure`. Calls that record always raise.
            unavailable_default: The same for features that `unavailable` does not name. None: as the feature's
                `on_unavailable` said in the last answer about it; "raise" if there was none.
            batching: Send calls of `can_use`, `use_feature` and `create_usage_event` that are made at the same time in
                one request. Each has its own answer or error. With many callers, from some 16 on, that saves most of
                the time.
            leases: For features, by their id, how to reserve units ahead, so that `use_feature` and `can_use` are
                decided without a call: `{"api-calls": canuse.Lease()}`. Close such a client: that records the last
                uses, as do the end of the process and SIGTERM.

        Raises:
            BadArgument: A setting is invalid, or cannot be combined with another; the error names it.
            OSError: A file of `tls` cannot be read.
        """
        check_settings(Channel, channel, credentials, tls, options, retry)
        lent = check_leases(leases)
        metadata = _environment.metadata(api_key, durability)
        self._target = "" if channel is not None else _environment.target(target)
        if tls is None:
            tls = credentials is None and channel is None and _environment.tls()
        make_credentials = credentials_maker(credentials, tls)
        self._fallbacks = Fallbacks(unavailable, unavailable_default)
        self._recorder: UsesRecorder | None = None
        calls = (
            metadata,
            positive("timeout_seconds", timeout_seconds),
            positive("silence_timeout_seconds", silence_timeout_seconds),
            retry_policy(retry, own_channel=channel is not None),
        )
        super().__init__(
            Connections(
                lambda: open_channel(self._target, make_credentials(), client_options(options)),
                channel,
                batched_stubs if _flag("batching", batching) else Stubs,
            ),
            *calls,
        )
        connection = (self._target, make_credentials, client_options(options))
        self._leases = open_leases(lent, self, channel, connection, calls)

    def __repr__(self) -> str:
        """Return the class and the server's address, without the key."""
        return f"<canuse.{type(self).__name__} {self._target or 'with a channel of its caller'}>"

    def attach(self, recorder: "UsesRecorder | None") -> None:
        """Let a recorder, such as one of `recorder(…)`, keep the uses that cannot be recorded for want of an answer.

        That are those of `create_usage_event` that add and have no metadata, and of `using`. They then raise no error:
        the answer has the `failure`, and the recorder sends the use with the same `event_id`, so that it counts once.
        They are repeated for half a second before, and not at all while nothing answers. None detaches the recorder.
        """
        self._recorder = recorder

    def leases(self) -> HeldLeases:
        """Return what the client decides by itself: the leases that it holds, and the uses that are not recorded yet.

        None are left after `close`. Those of all clients are in `list_leases`.
        """
        return HeldLeases() if self._leases is None else self._leases.view()

    async def close(self) -> None:
        """Close the connection; calls in flight raise ClientClosed. A channel that was passed in stays open.

        Leases are settled first, within `timeout_seconds`. Uses that cannot be recorded go to the attached recorder.
        If that is interrupted or cancelled, the next call or the end of the process goes on with it.
        """
        if (leases := self._leases) is not None:
            await in_thread(lambda: leases.settle(self._timeout_seconds))
            for use in leases.end():
                await self._keep_or_lose(leases, use)
        await self._connections.close()

    async def _keep_or_lose(self, leases: "Worker", use: "Record") -> None:
        """Let the attached recorder keep what a lease has not reported."""
        if self._recorder is None:
            leases.lose(use, "the service did not answer")
            return
        try:
            await self._recorder.record(use.user_id, use.feature_id, use.used, use.event_id)
        except CanuseError as error:
            leases.lose(use, f"neither the service nor the recorder took it: {error}")

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise bad_argument(name, value, "True or False")
    return value
