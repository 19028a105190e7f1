"""Reading the body of a request: bounded for each, and for all that are read at a time."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.requests import Request

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.errors import ApiError, invalid


class BodyTooLargeError(Exception):
    """A body has more bytes than are accepted."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        """Declared size in bytes, or the bytes received before reading ended."""


@asynccontextmanager
async def read_body(request: Request, max_bytes: int, reading: AdmissionLimit) -> AsyncGenerator[bytes, None]:
    """Read the body of a request, which counts against the limit `reading` until the block ends.

    Raises:
        BodyTooLargeError: it has more bytes than `max_bytes`. The rest is discarded.
        ApiError: too much is being read.
        ClientDisconnect: the caller is gone.
    """
    size = declared_bytes(request)
    if size is not None and size > max_bytes:
        raise BodyTooLargeError(size)
    # What has come counts, not what is announced: announcing costs a caller nothing.
    with reading.growing() as grow:
        body = bytearray()
        async for chunk in request.stream():
            if len(body) + len(chunk) > max_bytes:
                raise BodyTooLargeError(len(body) + len(chunk))
            grow(len(chunk))
            body += chunk
        yield bytes(body)


def declared_bytes(request: Request) -> int | None:
    """Return how many bytes the body of a request has; None where it does not say so beforehand."""
    if "transfer-encoding" in request.headers:
        return None
    return int(request.headers.get("content-length", "0"))


def too_large(error: BodyTooLargeError, max_bytes: int, name: str) -> ApiError:
    """Return the error for a body of a method that is too large."""
    return invalid([("request", f"must be at most {max_bytes} bytes for {name}; {error.size} were sent")])
