"""The context of a call: who makes it, in which environment, and what the caller requires."""

import math
import time
from dataclasses import dataclass, field

from canuse_server.api.environment import Environment
from canuse_server.domain.durability import Durability
from canuse_server.domain.principal import Principal


@dataclass(slots=True)
class CallContext:
    """A call that the authorizer has let in. Times are those of `time.monotonic`, which the event loop has as well."""

    env: Environment
    principal: Principal | None = None
    """Who makes the call. None: an anonymous caller, where no key is required, or the server itself."""
    path: str = ""
    """The method, `/package.Service/Method`. Empty: the server itself makes the call."""
    metadata_bytes: int = 0
    """How many bytes its metadata counts for while it is in flight."""
    durability: Durability = Durability.MEMORY
    """How durable its write has to be, beyond what the server promises."""
    arrived_at: float = field(default_factory=time.monotonic)
    """When it came. Its time for the store starts when its request is there."""
    deadline: float = math.inf
    """When the caller gives up."""
    authorization: bytes | None = field(default=None, repr=False)
    """The credentials of a call that is answered with a stream: they are looked at again while it goes on."""
