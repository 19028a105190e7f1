"""The reference transport: one `grpc.aio` server with all methods, health and reflection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_health.v1 import health

from canuse_server.api.context import CallContext
from canuse_server.api.dispatch import Dispatcher
from canuse_server.api.errors import ApiError
from canuse_server.api.metadata import REQUEST_ID, Metadata, check_metadata, request_id, with_request_id
from canuse_server.api.methods import method_at
from canuse_server.api.validation import malformed
from canuse_server.transport.limits import GRPC_OPTIONS, MAX_PUBLIC_REQUEST_BYTES
from canuse_server.transport.reflection import Reflection
from canuse_server.transport.tls import Certificates

HandlerFactory = Callable[[CallContext], "_Handler"]
"""Makes the handler of an authorized call."""
_Pairs = tuple[tuple[str, str | bytes], ...]

if TYPE_CHECKING:
    _Handler = grpc.RpcMethodHandler[Any, Any]


class _Handlers(grpc.GenericRpcHandler):
    """Finds a method by its path, and authorizes or refuses the call before its request is read."""

    def __init__(
        self, dispatcher: Dispatcher, factories: Mapping[str, HandlerFactory], public: Mapping[str, _Handler]
    ) -> None:
        self._dispatcher = dispatcher
        self._factories = factories
        self._public = public

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Handler | None:
        path = handler_call_details.method
        metadata: Metadata = handler_call_details.invocation_metadata or ()
        factory = self._factories.get(path)
        if self._dispatcher.request_ids:
            metadata = with_request_id(metadata)
        try:
            if factory is None:
                check_metadata(metadata)
                return self._public.get(path)
            return factory(self._dispatcher.open(path, metadata))
        except ApiError as error:
            return _error_handler(error, _returned(self._dispatcher, metadata))


def _returned(dispatcher: Dispatcher, metadata: Metadata) -> _Pairs:
    """Return the metadata that the response to a call has for its caller: its request id."""
    return ((REQUEST_ID, request_id(metadata)),) if dispatcher.request_ids else ()


def _error_handler(error: ApiError, returned: _Pairs) -> _Handler:
    """Return a handler that ends a call with an error."""

    async def call(_: object, context: aio.ServicerContext[bytes, bytes]) -> None:
        _fail(context, error, returned)

    # A handler of streams: with a unary request gRPC would wait for it, which costs memory and may take forever; with a
    # unary response it would send an empty message before the error.
    return grpc.stream_stream_rpc_method_handler(cast("Callable[..., Any]", call))


def build(
    dispatcher: Dispatcher,
    services: Sequence[str],
    health_servicer: health.aio.HealthServicer,
    *,
    share_port: bool,
    with_reflection: bool,
) -> aio.Server:
    """Return a server of all methods, without a port yet. Health and reflection require no key."""
    # Only workers share a port: any other server must fail on a port that is in use.
    server = aio.server(options=(("grpc.so_reuseport", int(share_port)), *GRPC_OPTIONS))
    unary, streaming = cast("HandlerFactory", partial(_UnaryHandler, dispatcher)), partial(_streaming, dispatcher)
    factories = {path: streaming if method_at(path).streams else unary for path in dispatcher.paths}
    public = _health(health_servicer)
    if with_reflection:
        public |= Reflection(services).handlers()
    server.add_generic_rpc_handlers((_Handlers(dispatcher, factories, public),))
    return server


def open_port(server: aio.Server, listen: str, certificates: Certificates | None) -> int:
    """Open a port, with TLS if certificates are given; return its number. Raise RuntimeError if that fails."""
    if certificates is None:
        return server.add_insecure_port(listen)
    return server.add_secure_port(listen, certificates.credentials)


class _UnaryHandler:
    """The handler of an authorized unary call, with what gRPC reads. One of its own class takes 5 us longer to make."""

    __slots__ = ("_call", "_dispatcher")
    request_streaming = response_streaming = False
    # Without (de)serializers the handler gets and returns bytes, so that it can answer invalid ones with an error.
    request_deserializer = response_serializer = None

    def __init__(self, dispatcher: Dispatcher, call: CallContext) -> None:
        self._dispatcher = dispatcher
        self._call = call

    async def unary_unary(self, payload: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes | None:
        """Answer the call."""
        returned = _returned(self._dispatcher, self._call.metadata)
        if returned:
            context.set_trailing_metadata(returned)
        try:
            return await self._dispatcher.unary(self._call, payload, cast("float | None", context.time_remaining()))
        except ApiError as error:
            _fail(context, error, returned)
            return None


def _streaming(dispatcher: Dispatcher, call: CallContext) -> _Handler:
    returned = _returned(dispatcher, call.metadata)

    async def answer(payload: bytes, context: aio.ServicerContext[bytes, bytes]) -> None:
        if returned:
            context.set_trailing_metadata(returned)
        try:
            async with aclosing(dispatcher.stream(call, payload)) as messages:
                async for message in messages:
                    await context.write(message)
        except ApiError as error:
            _fail(context, error, returned)

    return grpc.unary_stream_rpc_method_handler(cast("Any", answer))


def _fail(context: aio.ServicerContext[bytes, bytes], error: ApiError, returned: _Pairs = ()) -> None:
    """Set the error with which a call ends when its handler returns.

    Not `abort`: its exception and the call refer to each other, and keep the request until the garbage collector runs.
    """
    metadata: _Pairs = (*error.trailing_metadata(), *error.retry_metadata(), *returned)
    context.set_code(error.reason.status)
    context.set_details(error.message)
    context.set_trailing_metadata(metadata)


def _health_request(payload: bytes) -> Any:
    """Parse a request; return the error for bytes that are not a valid message.

    A request that is larger than any service's name becomes one about an unknown service.
    """
    request_class = health._health_pb2.HealthCheckRequest  # noqa: SLF001 - as in `_health`
    if len(payload) > MAX_PUBLIC_REQUEST_BYTES:
        return request_class(service="?")
    try:
        return request_class.FromString(payload)
    except DecodeError:
        return malformed(request_class.DESCRIPTOR.full_name)


def _health(servicer: health.aio.HealthServicer) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    messages = health._health_pb2  # noqa: SLF001 - the package has no other name for its messages
    serialization = {
        "request_deserializer": _health_request,
        "response_serializer": messages.HealthCheckResponse.SerializeToString,
    }

    async def check(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
        if isinstance(request, ApiError):
            _fail(context, request)
            return None
        return await servicer.Check(request, context)

    async def watch(requests: AsyncIterator[Any], context: aio.ServicerContext[Any, Any]) -> None:
        async for request in requests:
            if isinstance(request, ApiError):
                _fail(context, request)
            else:
                await servicer.Watch(request, context)
            return

    return {
        f"/{health.SERVICE_NAME}/Check": grpc.unary_unary_rpc_method_handler(check, **serialization),
        # Not as `unary_stream`: gRPC would keep the bytes of the request as long as the call.
        f"/{health.SERVICE_NAME}/Watch": grpc.stream_stream_rpc_method_handler(
            cast("Callable[..., Any]", watch), **serialization
        ),
    }
