"""What the threads of the batch lane pass to each other."""

from typing import NamedTuple

from canuse_server.transport.native.request_cache import Request, RequestCache


class LoopMethod(NamedTuple):
    """A method whose calls the front takes itself, and the event loop answers."""

    path: str
    writes: bool


class Call(NamedTuple):
    """A call on its way."""

    id: int
    payload: bytes
    request: Request
    cache: RequestCache
    arrived_at: float
    """When it came at the earliest, by `time.monotonic`."""
    deadline: float
    """When its caller gives up."""
    size: int
    """How many bytes it counts for while it waits: its request and its metadata."""
