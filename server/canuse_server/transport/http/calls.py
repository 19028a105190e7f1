"""Shared by the calls of all doors: headers, time limits, and the conversion of large messages."""

import asyncio
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from starlette.requests import Request

from canuse_server.api.context import CallContext
from canuse_server.api.metadata import Metadata
from canuse_server.runtime import thread_pauses
from canuse_server.transport.http.errors import COMPRESSED, UNSUPPORTED_MEDIA_TYPE, FormError

DEFAULT_TIMEOUT_SECONDS: Final = 30.0
"""Time limit of a unary call without a deadline of its caller, in seconds."""
OFF_LOOP_BYTES: Final = 16 << 10
"""Minimum size of a message that is converted in another thread, so that other calls do not wait for it."""
UNCOMPRESSED: Final = (None, "", "identity")
_WORKER: Final = ThreadPoolExecutor(1, "http-worker", initializer=thread_pauses.enable)
_Result = TypeVar("_Result")


def metadata(request: Request) -> Metadata:
    """Return the headers of a request as the metadata of a call."""
    return request.headers.items()


def seconds_left(context: CallContext, seconds: float) -> float:
    """Return the seconds that remain of a time limit, which began when the headers of the call arrived."""
    return seconds - (time.monotonic() - context.arrived_at)


def media_type(request: Request, accepted: Collection[str]) -> str:
    """Return the media type of a request; raise FormError unless it is accepted, with UTF-8 as the only charset."""
    content_type = request.headers.get("content-type", "")
    name, _, parameter = content_type.partition(";")
    name = name.strip().lower()
    if name not in accepted or parameter.replace(" ", "").lower() not in ("", "charset=utf-8"):
        text = f"must be {' or '.join(accepted)}; {content_type[:80]!r} was sent"
        raise FormError(UNSUPPORTED_MEDIA_TYPE, "content-type", text)
    return name


def check_uncompressed(field: str, encoding: str | None) -> None:
    """Raise FormError if a request is compressed: a few bytes could expand to very many."""
    if encoding not in UNCOMPRESSED:
        raise FormError(COMPRESSED, field, f"must be identity; {encoding[:80]!r} was sent")


async def convert(function: Callable[[bytes], _Result], message: bytes) -> _Result:
    """Return the result of a function for a message; a large one is converted in the worker."""
    return function(message) if len(message) < OFF_LOOP_BYTES else await in_worker(function, message)


async def in_worker(function: Callable[..., _Result], *arguments: object) -> _Result:
    """Return the result of a function, which runs in the one thread for long work of all doors.

    Several threads would take Python's global lock from the event loop and the batch lane in turns. This one pauses
    where the function calls `pause_if_due`.
    """
    return await asyncio.get_running_loop().run_in_executor(_WORKER, partial(function, *arguments))
