"""What the calls of all doors have in common: headers, time, and converting what is large."""

import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
SWITCH_SECONDS: Final = 0.0005
"""How long the worker keeps Python's global lock from threads that wait for it; by default it is ten times as long, and
the batch lane needs the lock several times for a call."""
_WORKER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="http-worker")
_Result = TypeVar("_Result")


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


async def convert(function: Callable[[bytes], _Result], message: bytes) -> _Result:
    """Return what a function makes of a message, in another thread where it is large."""
    return function(message) if len(message) < OFF_LOOP_BYTES else await in_worker(function, message)


async def in_worker(function: Callable[..., _Result], *arguments: object) -> _Result:
    """Return what a function makes of arguments, in the one thread for long work of all doors.

    Several threads would take Python's global lock from the event loop and the batch lane in turns.
    """
    return await asyncio.get_running_loop().run_in_executor(_WORKER, partial(_work, function, *arguments))


def _work(function: Callable[..., _Result], *arguments: object) -> _Result:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        return function(*arguments)
    finally:
        sys.setswitchinterval(usual)
