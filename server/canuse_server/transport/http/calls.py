"""What the calls of all doors have in common: headers, time, and converting what is large."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

from starlette.requests import Request

from canuse_server.api.context import CallContext
from canuse_server.api.metadata import Metadata
from canuse_server.transport.http.errors import COMPRESSED, FormError

DEFAULT_TIMEOUT_SECONDS: Final = 30.0
"""How long a unary call may take whose caller does not say how long it waits."""
OFF_LOOP_BYTES: Final = 16 << 10
"""Messages from this size on are converted in another thread, so that other calls do not wait for that."""
UNCOMPRESSED: Final = (None, "", "identity")
_Converted = TypeVar("_Converted")


def metadata(request: Request) -> Metadata:
    """Return the headers of a request as the metadata of a call."""
    return request.headers.items()


def seconds_left(context: CallContext, seconds: float) -> float:
    """Return how much is left of the time of a call, which began when its head came."""
    return seconds - (time.monotonic() - context.arrived_at)


def check_uncompressed(field: str, encoding: str | None) -> None:
    """Raise FormError where a request is compressed: a few bytes could become very many."""
    if encoding not in UNCOMPRESSED:
        raise FormError(COMPRESSED, field, f"must be identity; {encoding[:80]!r} was sent")


async def convert(function: Callable[[bytes], _Converted], message: bytes) -> _Converted:
    """Return what a function makes of a message, in another thread where it is large."""
    return function(message) if len(message) < OFF_LOOP_BYTES else await asyncio.to_thread(function, message)
