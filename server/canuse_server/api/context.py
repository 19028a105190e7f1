"""The context of a call: its caller, its environment, and its requirements."""

import math
import time
from dataclasses import dataclass, field

from canuse_server.api.environment import Environment
from canuse_server.api.metadata import Metadata
from canuse_server.domain.durability import Durability
from canuse_server.domain.principal import Principal
from canuse_server.runtime.round_trips import RoundTrips


@dataclass(slots=True)
class CallContext:
    """An authorized call. Times are of `time.monotonic`, which is also the clock of the event loop."""

    env: Environment
    principal: Principal | None = None
    """The caller. None: an anonymous caller, if no key is required, or the server itself."""
    path: str = ""
    """The method, `/package.Service/Method`. Empty: the server itself makes the call."""
    metadata_bytes: int = 0
    """Size of its metadata for the admission limit."""
    durability: Durability = Durability.MEMORY
    """The durability that the caller requires for its write, beyond the server's promise."""
    arrived_at: float = field(default_factory=time.monotonic)
    """Arrival time. It is set again when the request is complete; then the store deadline starts."""
    deadline: float = math.inf
    """The caller's deadline."""
    metadata: Metadata = field(default=(), repr=False)
    """The metadata of the call, for the observer."""
    round_trips: RoundTrips | None = field(default=None, repr=False)
    """Its round trips to the store, if it is traced."""
    authorization: bytes | None = field(default=None, repr=False)
    """The credentials. Those of a streaming call are checked again before each further message."""
