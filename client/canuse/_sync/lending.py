"""The leases of a client for threads.

Written by hand, as is `canuse._async.lending`: this is where the two clients differ.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from canuse._sync.channel import Channel
from canuse._sync.transport import Transport
from canuse.leases import Lease

if TYPE_CHECKING:
    from canuse.leases.worker import Worker

_T = TypeVar("_T")


def open_leases(
    leases: Mapping[str, Lease],
    client: Transport,
    channel: Channel | None,
    connection: object,
    calls: object,
) -> "Worker | None":
    """Return what decides locally; None without leases."""
    if not leases:
        return None
    from canuse.leases.worker import Worker  # noqa: PLC0415 - programs without leases do not need it

    return Worker(leases, client)


def in_thread(function: Callable[[], _T]) -> _T:
    """Call a function that may wait."""
    return function()
