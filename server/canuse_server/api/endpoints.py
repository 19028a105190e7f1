"""Every method of every service as one function from bytes to bytes, made once when the server starts.

What holds for all calls is applied here, not stacked around each of them: requests are read, faults become errors of
the table, answers are written.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from canuse_server.api.answers import answer
from canuse_server.api.errors import ApiError
from canuse_server.api.faults import faulty
from canuse_server.api.hot import HotMethod, parse
from canuse_server.api.hot_methods import HOT_METHODS
from canuse_server.api.rate_limits import ShouldRateLimit, should_rate_limit
from canuse_server.api.world import World

Endpoint = Callable[[bytes, World], Awaitable[bytes]]
"""Answers one call; raises ApiError and nothing else."""
_HOT: Final = {method.path: method for method in HOT_METHODS}


def endpoints(service: ServiceDescriptor, servicer: object) -> dict[str, Endpoint]:
    """Return the methods of a service by path (`/package.Service/Method`)."""
    found = {}
    for method in service.methods:
        path = f"/{service.full_name}/{method.name}"
        hot = _HOT.get(path)
        if not hot and not hasattr(servicer, _snake(method.name)):
            continue
        found[path] = _guard(path, _hot(hot) if hot else _plain(method.input_type, _handler(servicer, method.name)))
    return found


def _hot(method: HotMethod) -> Endpoint:
    if isinstance(method, ShouldRateLimit):
        return should_rate_limit

    async def call(payload: bytes, world: World) -> bytes:
        return await answer(method, payload, world)

    return call


def _plain(input_type: Any, handler: Callable[[Message, World], Awaitable[Message]]) -> Endpoint:
    request_class = GetMessageClass(input_type)

    async def call(payload: bytes, world: World) -> bytes:
        return (await handler(parse(request_class, payload), world)).SerializeToString()

    return call


def _handler(servicer: object, name: str) -> Callable[[Message, World], Awaitable[Message]]:
    handler: Callable[[Message, World], Awaitable[Message]] = getattr(servicer, _snake(name))
    return handler


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _guard(path: str, endpoint: Endpoint) -> Endpoint:
    async def call(payload: bytes, world: World) -> bytes:
        try:
            return await endpoint(payload, world)
        except ApiError:
            raise
        except Exception as error:  # The last resort: callers are told of a defect, but nothing about it.
            raise faulty(path, error) from error

    return call
