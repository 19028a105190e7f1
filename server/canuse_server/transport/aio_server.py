"""The reference transport: one `grpc.aio` server that holds every method, health and reflection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import grpc
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_health.v1 import health

from canuse_server.api.durability import wanted
from canuse_server.api.endpoints import Handlers, StreamHandler, UnaryHandler
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, deadline_passed
from canuse_server.api.methods import method_at
from canuse_server.api.validation import malformed
from canuse_server.auth.authorizer import Authorizer
from canuse_server.store.redis.durability import WANTED
from canuse_server.transport.admission import AdmissionLimit
from canuse_server.transport.limits import (
    GRPC_OPTIONS,
    METADATA_BYTES,
    OPEN_REQUEST_BYTES,
    metadata_bytes,
    too_much_metadata,
)
from canuse_server.transport.reflection import Reflection
from canuse_server.transport.tls import Certificates

Metadata = Sequence[tuple[str, str | bytes]]


class _Admitted(NamedTuple):
    """A call that has been let in, before its request is read."""

    env: Environment
    metadata: Metadata
    size: int
    """How many bytes its metadata counts for."""


if TYPE_CHECKING:
    _Handler = grpc.RpcMethodHandler[Any, Any]


class _Handlers(grpc.GenericRpcHandler):
    """Looks a method up by its path, and lets the call in or refuses it before anything of its request is read."""

    def __init__(
        self,
        authorizer: Authorizer,
        handlers: Mapping[str, Callable[[_Admitted], _Handler]],
        to_all: Mapping[str, _Handler],
    ) -> None:
        self._authorizer = authorizer
        self._handlers = handlers
        self._to_all = to_all

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Handler | None:
        metadata = handler_call_details.invocation_metadata or ()
        # gRPC holds callers to its limit once they have acknowledged it; until then, to 16 MiB.
        size = metadata_bytes(metadata)
        if size > METADATA_BYTES:
            return _refusal(too_much_metadata(size))
        path = handler_call_details.method
        handler = self._handlers.get(path)
        if handler is None:
            return self._to_all.get(path)
        try:
            env = self._authorizer.authorize(path, _authorization(metadata))
        except ApiError as error:
            return _refusal(error)
        return handler(_Admitted(env, metadata, size))


def _refusal(error: ApiError) -> _Handler:
    """Return what answers a call with an error."""

    async def call(_: object, context: aio.ServicerContext[bytes, bytes]) -> None:
        _fail(context, error)

    # Streams: for one request gRPC would wait, which costs memory and may never end; for one answer it would send an
    # empty message before the error.
    return grpc.stream_stream_rpc_method_handler(cast("Callable[..., Any]", call))


def build(
    endpoints: Handlers,
    authorizer: Authorizer,
    health_servicer: health.aio.HealthServicer,
    load: AdmissionLimit,
    *,
    share_port: bool,
    with_reflection: bool,
) -> aio.Server:
    """Return a server of all methods; it has no port yet. Health and reflection are open to everybody."""
    # Unless it is one of several workers: a second server on a port that is taken has to fail, not to share its calls.
    server = aio.server(options=(("grpc.so_reuseport", int(share_port)), *GRPC_OPTIONS))
    handlers = {path: _unary(path, endpoint, load) for path, endpoint in endpoints.unary.items()}
    handlers |= {path: _streaming(path, endpoint, authorizer, load) for path, endpoint in endpoints.streaming.items()}
    to_all = _health(health_servicer)
    if with_reflection:
        to_all |= Reflection(endpoints.services()).handlers()
    server.add_generic_rpc_handlers((_Handlers(authorizer, handlers, to_all),))
    return server


def open_port(server: aio.Server, listen: str, certificates: Certificates | None) -> int:
    """Open a port, with TLS where there is a certificate; return its number. RuntimeError where that can't be done."""
    if certificates is None:
        return server.add_insecure_port(listen)
    return server.add_secure_port(listen, certificates.credentials)


def _authorization(metadata: Metadata) -> bytes | None:
    """Return the value of a call's `authorization`; where it is there more than once, the first."""
    for name, value in metadata:
        if name == "authorization":
            return value.encode() if isinstance(value, str) else value
    return None


def _unary(path: str, endpoint: UnaryHandler, load: AdmissionLimit) -> Callable[[_Admitted], _Handler]:
    writes = method_at(path).writes

    async def answer(admitted: _Admitted, payload: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes | None:
        try:
            if writes:
                WANTED.set(wanted(admitted.metadata))
            left = cast("float | None", context.time_remaining())
            if left is not None and left <= 0:
                raise deadline_passed()
            size = len(payload) + admitted.size
            load.acquire(size)
            try:
                return await endpoint(payload, admitted.env)
            finally:
                load.release(size)
        except ApiError as error:
            _fail(context, error)
            return None

    # Without (de)serialisers bytes come in and go out: the endpoint reads them, so that garbage gets a proper error.
    return lambda admitted: grpc.unary_unary_rpc_method_handler(partial(answer, admitted))


def _fail(context: aio.ServicerContext[bytes, bytes], error: ApiError) -> None:
    """Have a call end with an error once its handler returns.

    Not `abort`: its exception and the call hold each other, and with them the request, until the collector finds them.
    """
    metadata: tuple[tuple[str, str | bytes], ...] = (*error.trailing_metadata(), *error.retry_metadata())
    context.set_code(error.reason.status)
    context.set_details(error.message)
    context.set_trailing_metadata(metadata)


def _streaming(
    path: str, endpoint: StreamHandler, authorizer: Authorizer, load: AdmissionLimit
) -> Callable[[_Admitted], _Handler]:
    async def answer(admitted: _Admitted, payload: bytes, context: aio.ServicerContext[bytes, bytes]) -> None:
        try:
            WANTED.set(wanted(admitted.metadata))
            authorization = _authorization(admitted.metadata)
            size = len(payload) + admitted.size
            load.acquire(size)
            try:
                async with aclosing(endpoint(payload, admitted.env)) as messages:
                    async for message in messages:
                        await context.write(message)
                        # A key that is revoked meanwhile ends what is under way, too.
                        authorizer.authorize(path, authorization)
            finally:
                load.release(size)
        except ApiError as error:
            _fail(context, error)

    return lambda admitted: grpc.unary_stream_rpc_method_handler(cast("Any", partial(answer, admitted)))


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
