"""The handlers of all methods, created at startup: functions from bytes to bytes, or to a stream of them.

A handler parses the request, calls the servicer or the hot method, and serializes the response. The steps before and
after, common to all calls, are in `dispatch.py`.
"""

import inspect
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from canuse_server.api.bounds import check_counts, check_size, method_bytes
from canuse_server.api.context import CallContext
from canuse_server.api.hotpath.batch.execution import BATCH_METHODS, BatchMethod, answer_batch
from canuse_server.api.hotpath.executor import answer
from canuse_server.api.hotpath.method import HotMethod, Request, parse
from canuse_server.api.hotpath.methods import HOT_METHODS
from canuse_server.api.methods import Method, method_of
from canuse_server.api.ratelimit.method import ShouldRateLimit, should_rate_limit
from canuse_server.runtime.fairness import PageScheduler

UnaryHandler = Callable[[bytes, CallContext], Awaitable[bytes]]
StreamHandler = Callable[[bytes, CallContext], AsyncGenerator[bytes, None]]
_BATCHES: Final = {method.path: method for method in BATCH_METHODS}


class Handlers(NamedTuple):
    """Handlers by path (`/package.Service/Method`), of unary and of streaming methods."""

    unary: dict[str, UnaryHandler]
    streaming: dict[str, StreamHandler]

    def services(self) -> list[str]:
        """Return the names of the services, sorted."""
        return sorted({path.split("/")[1] for path in (*self.unary, *self.streaming)})


def handlers_of(service: ServiceDescriptor, servicer: object, pages: PageScheduler) -> Handlers:
    """Return the handlers of a service. All services share `pages`, which schedules the calls for pages.

    Raises:
        LookupError: the scope, the bounds or the implementation of a method is missing; the message names the file.
    """
    handlers = Handlers({}, {})
    for descriptor in service.methods:
        method = method_of(descriptor)
        method_bytes(method.path)  # Checks that each field has a bound.
        if method.streams:
            handlers.streaming[method.path] = _streaming(method, _implementation(servicer, method))
        else:
            handlers.unary[method.path] = _unary(method, servicer, pages)
    return handlers


def _unary(method: Method, servicer: object, pages: PageScheduler) -> UnaryHandler:
    if hot := HOT_METHODS.get(method.path):
        return _hot(hot)
    if batch := _BATCHES.get(method.path):
        handler = _batch(batch)
    else:
        handler = _plain(method, _implementation(servicer, method))
    if method.writes:
        handler = _with_confirmation(handler)
    # Batches are not scheduled: recording and checking must not wait for other calls.
    return _scheduled(handler, pages) if method.paged else handler


def _hot(method: HotMethod) -> UnaryHandler:
    def call(payload: bytes, context: CallContext) -> Awaitable[bytes]:
        check_size(method.path, len(payload))
        return answer(method, payload, context.env)

    def rate_limit(payload: bytes, context: CallContext) -> Awaitable[bytes]:
        return should_rate_limit(payload, context.env)

    return rate_limit if isinstance(method, ShouldRateLimit) else call


def _batch(method: BatchMethod) -> UnaryHandler:
    async def call(payload: bytes, context: CallContext) -> bytes:
        return await answer_batch(method, payload, context.env)

    return call


def _scheduled(handler: UnaryHandler, pages: PageScheduler) -> UnaryHandler:
    async def call(payload: bytes, context: CallContext) -> bytes:
        async with pages.acquire():
            return await handler(payload, context)

    return call


def _plain(method: Method, implementation: Callable[[Message, CallContext], Awaitable[Message]]) -> UnaryHandler:
    request_class = GetMessageClass(method.input_type)

    async def call(payload: bytes, context: CallContext) -> bytes:
        return (await implementation(_read(method, request_class, payload), context)).SerializeToString()

    return call


def _read(method: Method, request_class: type[Request], payload: bytes) -> Request:
    """Parse a request; raise ApiError if it is too large, not a valid message, or has too many items."""
    check_size(method.path, len(payload))
    request = parse(request_class, payload)
    check_counts(request)
    return request


def _with_confirmation(handler: UnaryHandler) -> UnaryHandler:
    """Confirm the durability also if nothing is written because an earlier call has already made the change."""

    async def call(payload: bytes, context: CallContext) -> bytes:
        response = await handler(payload, context)
        await context.env.store.confirm()
        return response

    return call


def _streaming(
    method: Method, implementation: Callable[[Message, CallContext], AsyncGenerator[Message, None]]
) -> StreamHandler:
    request_class = GetMessageClass(method.input_type)

    async def call(payload: bytes, context: CallContext) -> AsyncGenerator[bytes, None]:
        async with aclosing(implementation(_read(method, request_class, payload), context)) as messages:
            async for message in messages:
                yield message.SerializeToString()

    return call


def _implementation(servicer: object, method: Method) -> Callable[[Message, CallContext], Any]:
    """Return the servicer's method that implements a method of the API."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", method.path.rpartition("/")[2]).lower()
    implementation: Callable[[Message, CallContext], Any] | None = getattr(servicer, name, None)
    if implementation is None:
        where = inspect.getfile(type(servicer)).partition("canuse_server/")[2]
        raise LookupError(f"{where}: {type(servicer).__name__} has no method {name} for {method.path}")
    return implementation
