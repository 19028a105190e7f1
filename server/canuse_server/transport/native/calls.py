"""What the threads of the batch lane pass to each other."""

from typing import NamedTuple

from canuse_server.api.dispatch import Caller
from canuse_server.transport.native.request_cache import Request, RequestCache


class LoopMethod(NamedTuple):
    """A method whose calls the front takes itself, and the event loop answers."""

    path: str
    writes: bool


class Call(NamedTuple):
    """A call on its way. Times are those of `time.monotonic`."""

    id: int
    payload: bytes
    request: Request
    cache: RequestCache
    caller: Caller
    arrived_at: float
    """When it came at the earliest."""
    deadline: float
    """When its caller gives up."""
    metadata_bytes: int
    """How many bytes its metadata counts for."""

    @property
    def size(self) -> int:
        """How many bytes it counts for while it waits."""
        return len(self.payload) + self.metadata_bytes
