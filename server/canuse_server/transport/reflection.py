"""Reflection: what the services are, for whoever asks, key or no key. So it is made a little at a time, and there is a
bound to how much of it.

The front of the native transport takes all answers at once and keeps those that its callers don't read. Without a bound
they would fill the memory: an answer has hundreds of times as many bytes as the question.
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

from canuse_server.api.errors import ApiError, invalid, too_much_asked
from canuse_server.api.validation import malformed
from canuse_server.runtime.fairness import YieldBudget
from canuse_server.transport.limits import OPEN_REQUEST_BYTES

SERVICES: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
MAX_BYTES: Final = 32 << 20
"""How much may be answered at once: some hundred times what describes all services."""
BYTES_A_SECOND: Final = 32 << 10
"""How much more may be answered each second after that."""

_Requests = AsyncIterator[reflection_pb2.ServerReflectionRequest | ApiError]
_Answers = AsyncGenerator[reflection_pb2.ServerReflectionResponse, None]
_Context = aio.ServicerContext[reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse]


class Allowance:
    """Bytes that may be spent: so many at once, and so many more each second."""

    def __init__(self, most: float, a_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = self._left = most
        self._a_second = a_second
        self._clock = clock
        self._at = clock()

    def spend(self, amount: int) -> bool:
        """Spend some; return whether there were as many. If not, nothing is spent."""
        now = self._clock()
        self._left, self._at = min(self._most, self._left + (now - self._at) * self._a_second), now
        if amount > self._left:
            return False
        self._left -= amount
        return True


class Reflection:
    """Answers what the services are."""

    def __init__(self, services: Iterable[str]) -> None:
        self._servicer = reflection.aio.ReflectionServicer([*services, health.SERVICE_NAME, *SERVICES], pool=_Symbols())
        self._pace = YieldBudget()
        self._allowance = Allowance(MAX_BYTES, BYTES_A_SECOND)

    async def _answers(self, requests: _Requests, context: _Context) -> _Answers:
        try:
            with self._pace.under_way():
                # Closed here: what is left to the collector keeps its requests until that runs.
                async with aclosing(self._paced(requests)) as paced:
                    found = cast("_Answers", self._servicer.ServerReflectionInfo(paced, context))
                    async with aclosing(found) as answers:
                        async for answer in answers:
                            if not self._allowance.spend(answer.ByteSize()):
                                raise too_much_asked()
                            yield answer
        except ApiError as error:
            _refuse(context, error)

    async def _paced(self, requests: _Requests) -> AsyncGenerator[reflection_pb2.ServerReflectionRequest, None]:
        async for request in requests:
            if isinstance(request, ApiError):
                raise request
            await self._pace.yield_if_due()
            yield request

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return what handles its methods, by path. Both versions share it: their messages are the same."""
        handler = grpc.stream_stream_rpc_method_handler(
            self._answers,
            request_deserializer=_request,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        return {f"/{service}/ServerReflectionInfo": handler for service in SERVICES}


def _request(payload: bytes) -> reflection_pb2.ServerReflectionRequest | ApiError:
    """Read a request; return what is wrong with it where it is too large or no such message."""
    kind = reflection_pb2.ServerReflectionRequest
    if len(payload) > OPEN_REQUEST_BYTES:
        return invalid([("request", f"must be at most {OPEN_REQUEST_BYTES} bytes; {len(payload)} were sent")])
    try:
        return kind.FromString(payload)
    except DecodeError:
        return malformed(kind.DESCRIPTOR.full_name)


def _refuse(context: _Context, error: ApiError) -> None:
    context.set_code(error.reason.status)
    context.set_details(error.message)
    context.set_trailing_metadata(error.trailing_metadata())


def _file(descriptor: FileDescriptor) -> FileDescriptorProto:
    file = FileDescriptorProto()
    descriptor.CopyToProto(file)
    return file


class _Symbols:
    """A descriptor pool that finds the file of a method, too; protobuf's own knows those of services and messages."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()
        # v1 of the reflection service differs from v1alpha by its name only, and grpcio brings only v1alpha.
        text = text_format.MessageToString(_file(reflection_pb2.DESCRIPTOR)).replace("v1alpha", "v1")
        self._pool.AddSerializedFile(text_format.Parse(text, FileDescriptorProto()).SerializeToString())

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - the name that is asked for
        """Return the file that defines a symbol; raise KeyError where there is none."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            found = self._pool.FindServiceByName(service)
            return found.methods_by_name[method].containing_service.file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)
