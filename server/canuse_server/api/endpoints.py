"""Every method of every service as one function from bytes to bytes, made once when the server starts.

What holds for all calls is applied here, not stacked around each of them: requests are read, faults become errors of
the table, answers are written.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from canuse_server.api.entitlements import answer
from canuse_server.api.errors import ApiError, internal, store_error
from canuse_server.api.hot import HotMethod, parse
from canuse_server.api.hot_methods import HOT_METHODS
from canuse_server.api.world import World
from canuse_server.observe.throttle import Throttle
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError

log = structlog.get_logger(__name__)

# An outage fails every call; a line a second tells as much.
_STORE_FAULTS: Final = Throttle(1.0)

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


def faulty(path: str, error: Exception) -> ApiError:
    """Return what a caller is told of a fault that is not theirs, and log the rest."""
    if isinstance(error, StoreUnavailableError | OutcomeUnknownError):
        held_back = _STORE_FAULTS.let_through()
        if held_back is not None:
            log.warning("the store failed a call", method=path, cause=str(error), and_before=held_back)
        return store_error(error)
    log.error("a call failed for no known reason", method=path, exc_info=error)
    return internal()
