"""The leases of an asyncio client.

Written by hand, as is `canuse._sync.lending`: this is where the two clients differ. A thread makes the calls of leases,
on a connection of its own: it serves all event loops, also while they are busy, and after they have ended.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc

from canuse._async.channel import Channel
from canuse._async.transport import Transport
from canuse._channel import Metadata
from canuse._retry import Retry
from canuse._sync.channel import open_channel
from canuse._sync.connection import Connections
from canuse._sync.stubs import Stubs
from canuse._sync.transport import Transport as SyncTransport
from canuse.errors import BadArgument
from canuse.leases import Lease

if TYPE_CHECKING:
    from canuse.leases.worker import Worker

_T = TypeVar("_T")
_Connection: TypeAlias = tuple[str, Callable[[], grpc.ChannelCredentials | None], Sequence[tuple[str, Any]]]
"""The target, what makes the credentials, and the options."""
_Calls: TypeAlias = tuple[Metadata, float, float, Retry | None]
"""The further arguments of a transport."""


def open_leases(
    leases: Mapping[str, Lease],
    client: Transport,
    channel: Channel | None,
    connection: _Connection,
    calls: _Calls,
) -> "Worker | None":
    """Return what decides locally; None without leases."""
    if not leases:
        return None
    if channel is not None:
        raise BadArgument.of("channel", "cannot be combined with leases, which need a connection of their own")
    from canuse.leases.worker import Worker  # noqa: PLC0415 - programs without leases do not need it

    target, make_credentials, options = connection
    connections = Connections(lambda: open_channel(target, make_credentials(), options), None, Stubs)
    return Worker(leases, SyncTransport(connections, *calls), connections.close)


async def in_thread(function: Callable[[], _T]) -> _T:
    """Call a function that may wait."""
    return await asyncio.to_thread(function)
