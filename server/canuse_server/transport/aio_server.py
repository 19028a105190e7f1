"""The reference transport: one `grpc.aio` server that holds every method, health and reflection."""

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
from canuse_server.api.metadata import check_metadata
from canuse_server.api.methods import method_at
from canuse_server.api.validation import malformed
from canuse_server.transport.limits import GRPC_OPTIONS, OPEN_REQUEST_BYTES
from canuse_server.transport.reflection import Reflection
from canuse_server.transport.tls import Certificates

Answer = Callable[[CallContext], "_Handler"]
"""Returns what answers a call that has been let in."""

if TYPE_CHECKING:
    _Handler = grpc.RpcMethodHandler[Any, Any]


class _Handlers(grpc.GenericRpcHandler):
    """Looks a method up by its path, and lets the call in or refuses it before anything of its request is read."""

    def __init__(
        self, dispatcher: Dispatcher, answers: Mapping[str, Answer], open_to_all: Mapping[str, _Handler]
    ) -> None:
        self._dispatcher = dispatcher
        self._answers = answers
        self._open_to_all = open_to_all

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Handler | None:
        path, metadata = handler_call_details.method, handler_call_details.invocation_metadata or ()
        answer = self._answers.get(path)
        try:
            if answer is None:
                check_metadata(metadata)
                return self._open_to_all.get(path)
            return answer(self._dispatcher.open(path, metadata))
        except ApiError as error:
            return _refusal(error)


def _refusal(error: ApiError) -> _Handler:
    """Return what answers a call with an error."""

    async def call(_: object, context: aio.ServicerContext[bytes, bytes]) -> None:
        _fail(context, error)

    # Streams: for one request gRPC would wait, which costs memory and may never end; for one answer it would send an
    # empty message before the error.
    return grpc.stream_stream_rpc_method_handler(cast("Callable[..., Any]", call))


def build(
    dispatcher: Dispatcher,
    services: Sequence[str],
    health_servicer: health.aio.HealthServicer,
    *,
    share_port: bool,
    with_reflection: bool,
) -> aio.Server:
    """Return a server of all methods; it has no port yet. Health and reflection are open to everybody."""
    # Unless it is one of several workers: a second server on a port that is taken has to fail, not to share its calls.
    server = aio.server(options=(("grpc.so_reuseport", int(share_port)), *GRPC_OPTIONS))
    unary, streaming = partial(_unary, dispatcher), partial(_streaming, dispatcher)
    answers = {path: streaming if method_at(path).streams else unary for path in dispatcher.paths}
    open_to_all = _health(health_servicer)
    if with_reflection:
        open_to_all |= Reflection(services).handlers()
    server.add_generic_rpc_handlers((_Handlers(dispatcher, answers, open_to_all),))
    return server


def open_port(server: aio.Server, listen: str, certificates: Certificates | None) -> int:
    """Open a port, with TLS where there is a certificate; return its number. RuntimeError where that can't be done."""
    if certificates is None:
        return server.add_insecure_port(listen)
    return server.add_secure_port(listen, certificates.credentials)


def _unary(dispatcher: Dispatcher, call: CallContext) -> _Handler:
    async def answer(payload: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes | None:
        try:
            return await dispatcher.unary(call, payload, cast("float | None", context.time_remaining()))
        except ApiError as error:
            _fail(context, error)
            return None

    # Without (de)serialisers bytes come in and go out: the handler reads them, so that garbage gets a proper error.
    return grpc.unary_unary_rpc_method_handler(answer)


def _streaming(dispatcher: Dispatcher, call: CallContext) -> _Handler:
    async def answer(payload: bytes, context: aio.ServicerContext[bytes, bytes]) -> None:
        try:
            async with aclosing(dispatcher.stream(call, payload)) as messages:
                async for message in messages:
                    await context.write(message)
        except ApiError as error:
            _fail(context, error)

    return grpc.unary_stream_rpc_method_handler(cast("Any", answer))


def _fail(context: aio.ServicerContext[bytes, bytes], error: ApiError) -> None:
    """Have a call end with an error once its handler returns.

    Not `abort`: its exception and the call hold each other, and with them the request, until the collector finds them.
    """
    metadata: tuple[tuple[str, str | bytes], ...] = (*error.trailing_metadata(), *error.retry_metadata())
    context.set_code(error.reason.status)
    context.set_details(error.message)
    context.set_trailing_metadata(metadata)


def _health_request(payload: bytes) -> Any:
    """Read a request; one that is too large for the name of any service asks about one that there is not.

    Return what is wrong with bytes that are no such message.
    """
    kind = health._health_pb2.HealthCheckRequest  # noqa: SLF001 - as in `_health`
    if len(payload) > OPEN_REQUEST_BYTES:
        return kind(service="?")
    try:
        return kind.FromString(payload)
    except DecodeError:
        return malformed(kind.DESCRIPTOR.full_name)


def _health(servicer: health.aio.HealthServicer) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    messages = health._health_pb2  # noqa: SLF001 - the package has no other name for its messages
    reading = {
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
        f"/{health.SERVICE_NAME}/Check": grpc.unary_unary_rpc_method_handler(check, **reading),
        # Not as a stream for one request: gRPC would keep the bytes of the request as long as the call.
        f"/{health.SERVICE_NAME}/Watch": grpc.stream_stream_rpc_method_handler(
            cast("Callable[..., Any]", watch), **reading
        ),
    }
