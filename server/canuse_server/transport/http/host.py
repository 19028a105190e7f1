"""What a door may need of the server beside the calls of its API."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from canuse_server.api.hotpath.decisions import Decision
from canuse_server.auth.authorizer import Authorizer
from canuse_server.store.redis.client import Store


class Decisions(NamedTuple):
    """How many decisions a server has made: all its processes, and no other server of the same store."""

    answered: int
    """The number of processes whose counts these are."""
    processes: int
    """The number of processes that the server is to have; 0: not known."""
    since_seconds: float
    """For how long they have been counted: since the server started."""
    total: Counter[Decision]
    """All of them."""
    seconds: float
    """A time that ends now: a minute, if that is known."""
    recent: Counter[tuple[str, int]]
    """Those of that time, by environment and number of the reason."""


@dataclass(frozen=True, slots=True)
class Host:
    """The server of the HTTP port."""

    authorizer: Authorizer
    store: Store
    is_ready: Callable[[], bool]
    grpc_address: Callable[[], str]
    """Where gRPC is served."""
    secure: bool
    """Whether callers reach the port by TLS."""
    decisions: Callable[[], Awaitable[Decisions]]
    """Reads how many decisions the server has made."""
    store_name: str
    """The store for people: what it is, and where."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What people may know of the settings: no secrets."""
