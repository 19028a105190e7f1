"""Every method of every service as one function from bytes to bytes, or to a stream of them, made once when the server
starts.

What holds for all calls is applied here, not stacked around each of them: requests are read, faults become errors of
the table, answers are written.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode

from canuse_server.api.bounds import check_counts, check_size, method_bytes
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError
from canuse_server.api.failures import to_api_error
from canuse_server.api.hotpath.batches import BATCH_METHODS, BatchMethod, answer_batch
from canuse_server.api.hotpath.executor import answer
from canuse_server.api.hotpath.method import HotMethod, Request, parse
from canuse_server.api.hotpath.methods import HOT_METHODS
from canuse_server.api.methods import Method, method_of
from canuse_server.api.ratelimit.method import ShouldRateLimit, should_rate_limit
from canuse_server.runtime.deadline import begin_call
from canuse_server.runtime.fairness import PageScheduler

UnaryHandler = Callable[[bytes, Environment], Awaitable[bytes]]
"""Answers one call; raises ApiError and nothing else."""
StreamHandler = Callable[[bytes, Environment], AsyncGenerator[bytes, None]]
"""Answers one call with a stream; raises ApiError and nothing else."""
_HOT: Final = {method.path: method for method in HOT_METHODS}
_BATCHES: Final = {method.path: method for method in BATCH_METHODS}


class Handlers(NamedTuple):
    """Methods by path (`/package.Service/Method`): those that answer once, and those that answer with a stream."""

    unary: dict[str, UnaryHandler]
    streaming: dict[str, StreamHandler]

    def services(self) -> list[str]:
        """Return the names of the services, in order."""
        return sorted({path.split("/")[1] for path in (*self.unary, *self.streaming)})


def endpoints(service: ServiceDescriptor, servicer: object, pages: PageScheduler) -> Handlers:
    """Return the methods of a service. Those of all services that answer with pages share the turns."""
    found = Handlers({}, {})
    for method in service.methods:
        facts = method_of(method)
        path = facts.path
        hot = _HOT.get(path)
        method_bytes(path)  # A field without a bound is found when the server starts.
        if method.server_streaming:
            stream = _streaming(path, method.input_type, getattr(servicer, _snake(method.name)))
            found.streaming[path] = _guard_stream(path, stream)
        else:
            if hot:
                plain = _hot(hot)
            elif path in _BATCHES:
                plain = _batch(_BATCHES[path])
            else:
                plain = _plain(path, method.input_type, _handler(servicer, method.name))
            if not hot and facts.writes:
                plain = _confirmed(plain)
            # Batches do not take turns: they record and check, which must not wait for others.
            if facts.paged:
                plain = _in_turn(plain, pages)
            found.unary[path] = _guard(facts, plain)
    return found


def _hot(method: HotMethod) -> UnaryHandler:
    if isinstance(method, ShouldRateLimit):
        return should_rate_limit

    async def call(payload: bytes, env: Environment) -> bytes:
        check_size(method.path, len(payload))
        return await answer(method, payload, env)

    return call


def _batch(method: BatchMethod) -> UnaryHandler:
    async def call(payload: bytes, env: Environment) -> bytes:
        return await answer_batch(method, payload, env)

    return call


def _in_turn(endpoint: UnaryHandler, pages: PageScheduler) -> UnaryHandler:
    async def call(payload: bytes, env: Environment) -> bytes:
        async with pages.acquire():
            return await endpoint(payload, env)

    return call


def _plain(path: str, input_type: Any, handler: Callable[[Message, Environment], Awaitable[Message]]) -> UnaryHandler:
    request_class = GetMessageClass(input_type)

    async def call(payload: bytes, env: Environment) -> bytes:
        return (await handler(_read(path, request_class, payload), env)).SerializeToString()

    return call


def _read(path: str, request_class: type[Request], payload: bytes) -> Request:
    """Read a request of a method; raise ApiError where it is too large, no such message, or has too many items."""
    check_size(path, len(payload))
    request = parse(request_class, payload)
    check_counts(request)
    return request


def _confirmed(endpoint: UnaryHandler) -> UnaryHandler:
    """A change that is there already is answered without a write: then the earlier one has to be as durable as this."""

    async def call(payload: bytes, env: Environment) -> bytes:
        answered = await endpoint(payload, env)
        await env.store.confirm()
        return answered

    return call


def _streaming(
    path: str, input_type: Any, handler: Callable[[Message, Environment], AsyncGenerator[Message, None]]
) -> StreamHandler:
    request_class = GetMessageClass(input_type)

    async def call(payload: bytes, env: Environment) -> AsyncGenerator[bytes, None]:
        async with aclosing(handler(_read(path, request_class, payload), env)) as messages:
            async for message in messages:
                yield message.SerializeToString()

    return call


def _handler(servicer: object, name: str) -> Callable[[Message, Environment], Awaitable[Message]]:
    handler: Callable[[Message, Environment], Awaitable[Message]] = getattr(servicer, _snake(name))
    return handler


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _guard(method: Method, endpoint: UnaryHandler) -> UnaryHandler:
    path, writes, sliding = method.path, method.writes, method.path not in _HOT

    async def call(payload: bytes, env: Environment) -> bytes:
        begin_call(env.store.seconds_for(writes=writes), sliding=sliding)
        try:
            try:
                return await endpoint(payload, env)
            except ApiError as error:
                if error.reason.status is StatusCode.NOT_FOUND:
                    # Not of a store whose data is gone.
                    await env.store.require_data()
                raise
        except ApiError:
            raise
        except Exception as error:  # The last resort: callers are told of a defect, but nothing about it.
            raise to_api_error(path, error) from error

    return call


def _guard_stream(path: str, endpoint: StreamHandler) -> StreamHandler:
    async def call(payload: bytes, env: Environment) -> AsyncGenerator[bytes, None]:
        begin_call(env.store.seconds_for(writes=True), sliding=True)
        try:
            async with aclosing(endpoint(payload, env)) as messages:
                async for message in messages:
                    yield message
        except ApiError:
            raise
        except Exception as error:  # As in `_guard`.
            raise to_api_error(path, error) from error

    return call
