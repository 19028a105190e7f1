"""The data that the threads of the batch lane pass to each other."""

from typing import NamedTuple

from canuse_server.api.dispatch import Caller
from canuse_server.transport.native.request_cache import Request, RequestCache


class Call(NamedTuple):
    """A call in flight. Times are of `time.monotonic`."""

    id: int
    payload: bytes
    request: Request
    cache: RequestCache
    caller: Caller
    arrived_at: float
    """The earliest time at which it can have arrived."""
    deadline: float
    """The caller's deadline."""
    metadata_bytes: int
    """Size of its metadata, for the admission limit."""

    @property
    def size(self) -> int:
        """Its size for the admission limit, in bytes."""
        return len(self.payload) + self.metadata_bytes
