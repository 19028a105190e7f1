"""gRPC reflection: the definitions of the services, for any caller. It requires no key, so its work yields to other
calls and the size of its responses is limited.

The front of the native transport buffers responses that its clients do not read. Without a limit they would fill the
memory: a response is hundreds of times larger than its request.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any, Final, cast

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection, reflection_pb2

from canuse_server.api.errors import ApiError, invalid, reflection_limited
from canuse_server.api.validation import malformed
from canuse_server.runtime.fairness import YieldBudget
from canuse_server.transport.limits import MAX_PUBLIC_REQUEST_BYTES

SERVICES: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
BURST_BYTES: Final = 32 << 20
"""Maximum size of the responses in a burst: about a hundred times the definitions of all services."""
BYTES_PER_SECOND: Final = 32 << 10
"""Sustained size of the responses per second."""

_Requests = AsyncIterator[reflection_pb2.ServerReflectionRequest | ApiError]
_Answers = AsyncGenerator[reflection_pb2.ServerReflectionResponse, None]
_Context = aio.ServicerContext[reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse]


class TokenBucket:
    """A token bucket: `capacity` tokens at first, refilled at `per_second` up to the capacity."""

    def __init__(self, capacity: float, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = self._available = capacity
        self._per_second = per_second
        self._clock = clock
        self._refilled_at = clock()

    def try_take(self, amount: int) -> bool:
        """Take tokens if enough are available; return whether they were."""
        now = self._clock()
        refill = (now - self._refilled_at) * self._per_second
        self._available, self._refilled_at = min(self._capacity, self._available + refill), now
        if amount > self._available:
            return False
        self._available -= amount
        return True


class Reflection:
    """Serves the definitions of the services."""

    def __init__(self, services: Iterable[str]) -> None:
        self._servicer = reflection.aio.ReflectionServicer([*services, health.SERVICE_NAME, *SERVICES], pool=_Symbols())
        self._yield_budget = YieldBudget()
        self._limit = TokenBucket(BURST_BYTES, BYTES_PER_SECOND)

    async def _answers(self, requests: _Requests, context: _Context) -> _Answers:
        try:
            with self._yield_budget.under_way():
                # Closed here: an abandoned generator keeps its requests until the garbage collector runs.
                async with aclosing(self._yielding(requests)) as yielding:
                    stream = cast("_Answers", self._servicer.ServerReflectionInfo(yielding, context))
                    async with aclosing(stream) as answers:
                        async for answer in answers:
                            if not self._limit.try_take(answer.ByteSize()):
                                raise reflection_limited()
                            yield answer
        except ApiError as error:
            _refuse(context, error)

    async def _yielding(self, requests: _Requests) -> AsyncGenerator[reflection_pb2.ServerReflectionRequest, None]:
        async for request in requests:
            if isinstance(request, ApiError):
                raise request
            await self._yield_budget.yield_if_due()
            yield request

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the handlers by path. Both versions share one: their messages are the same."""
        handler = grpc.stream_stream_rpc_method_handler(
            self._answers,
            request_deserializer=_request,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        return {f"/{service}/ServerReflectionInfo": handler for service in SERVICES}


def _request(payload: bytes) -> reflection_pb2.ServerReflectionRequest | ApiError:
    """Parse a request; return the error for one that is too large or not a valid message."""
    request_class = reflection_pb2.ServerReflectionRequest
    if len(payload) > MAX_PUBLIC_REQUEST_BYTES:
        return invalid([("request", f"must be at most {MAX_PUBLIC_REQUEST_BYTES} bytes; {len(payload)} were sent")])
    try:
        return request_class.FromString(payload)
    except DecodeError:
        return malformed(request_class.DESCRIPTOR.full_name)


def _refuse(context: _Context, error: ApiError) -> None:
    context.set_code(error.reason.status)
    context.set_details(error.message)
    context.set_trailing_metadata(error.trailing_metadata())


def _file(descriptor: FileDescriptor) -> FileDescriptorProto:
    file = FileDescriptorProto()
    descriptor.CopyToProto(file)
    return file


class _Symbols:
    """A descriptor pool that also finds the files of methods; protobuf's own finds those of services and messages."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()
        # Versions v1 and v1alpha of the service differ only in their name, and grpcio contains only v1alpha.
        text = text_format.MessageToString(_file(reflection_pb2.DESCRIPTOR)).replace("v1alpha", "v1")
        self._pool.AddSerializedFile(text_format.Parse(text, FileDescriptorProto()).SerializeToString())

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - the name of protobuf's method
        """Return the file that defines a symbol; raise KeyError if none does."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            methods = self._pool.FindServiceByName(service).methods_by_name
            return methods[method].containing_service.file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)
