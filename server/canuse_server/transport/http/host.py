"""What a door may need of the server beside the calls of its API."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from canuse_server.auth.authorizer import Authorizer
from canuse_server.store.redis.client import Store


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
    store_name: str
    """The store for people: what it is, and where."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What people may know of the settings: no secrets."""
