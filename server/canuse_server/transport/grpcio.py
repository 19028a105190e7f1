"""The reference transport: one `grpc.aio` server that holds every method, health and reflection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn, cast

import grpc
from grpc import aio
from grpc_health.v1 import health

from canuse_server.api.durability import changes, wanted
from canuse_server.api.endpoints import Endpoint, Endpoints, StreamEndpoint
from canuse_server.api.errors import ApiError, deadline_passed, invalid
from canuse_server.auth.gate import Gate
from canuse_server.store.durability import WANTED
from canuse_server.transport.limits import GRPC_OPTIONS, METADATA_BYTES, PAIR_BYTES
from canuse_server.transport.load import Load
from canuse_server.transport.reflection import Reflection
from canuse_server.transport.tls import Certificates


class _Handlers(grpc.GenericRpcHandler):
    """Looks a method up by its path."""

    def __init__(self, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        # gRPC holds callers to the limit once they have acknowledged it; until then, to 16 MiB.
        metadata = handler_call_details.invocation_metadata or ()
        size = sum(len(name) + len(value) + PAIR_BYTES for name, value in metadata)
        if size > METADATA_BYTES:
            return _refusal(size)
        return self._handlers.get(handler_call_details.method)


def _refusal(size: int) -> grpc.RpcMethodHandler[Any, Any]:
    """Return what answers a call with so much metadata."""
    accepted = f"must be at most {METADATA_BYTES} bytes: names, values, and {PAIR_BYTES} for each pair"
    error = invalid([("metadata", f"{accepted}; {size} were sent")])

    async def call(_: object, context: aio.ServicerContext[bytes, bytes]) -> None:
        await _abort(context, error)

    # Not unary: that would wait for the request, which may never come.
    return grpc.stream_unary_rpc_method_handler(cast("Callable[..., Any]", call))


def build(
    endpoints: Endpoints,
    gate: Gate,
    health_servicer: health.aio.HealthServicer,
    load: Load,
    *,
    share_port: bool,
    with_reflection: bool,
) -> aio.Server:
    """Return a server of all methods; it has no port yet. Health and reflection are open to everybody."""
    # Unless it is one of several workers: a second server on a port that is taken has to fail, not to share its calls.
    server = aio.server(options=(("grpc.so_reuseport", int(share_port)), *GRPC_OPTIONS))
    handlers = {path: _handler(path, endpoint, gate, load) for path, endpoint in endpoints.unary.items()}
    handlers |= {path: _stream_handler(path, endpoint, gate, load) for path, endpoint in endpoints.streaming.items()}
    handlers |= _health(health_servicer)
    if with_reflection:
        handlers |= Reflection(endpoints.services()).handlers()
    server.add_generic_rpc_handlers((_Handlers(handlers),))
    return server


def open_port(server: aio.Server, listen: str, certificates: Certificates | None) -> int:
    """Open a port, with TLS where there is a certificate; return its number. RuntimeError where that can't be done."""
    if certificates is None:
        return server.add_insecure_port(listen)
    return server.add_secure_port(listen, certificates.credentials)


def _authorization(metadata: Iterable[tuple[str, str | bytes]]) -> bytes | None:
    """Return the value of a call's `authorization`; where it is there more than once, the first."""
    for name, value in metadata:
        if name == "authorization":
            return value.encode() if isinstance(value, str) else value
    return None


def _handler(path: str, endpoint: Endpoint, gate: Gate, load: Load) -> grpc.RpcMethodHandler[Any, Any]:
    changing = changes(path)

    async def call(payload: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
        try:
            metadata = context.invocation_metadata() or ()
            world = gate.admit(path, _authorization(metadata))
            if changing:
                WANTED.set(wanted(metadata))
            left = cast("float | None", context.time_remaining())
            if left is not None and left <= 0:
                raise deadline_passed()
            load.enter(len(payload))
            try:
                return await endpoint(payload, world)
            finally:
                load.leave(len(payload))
        except ApiError as error:
            await _abort(context, error)

    # Without (de)serialisers bytes come in and go out: the endpoint reads them, so that garbage gets a proper error.
    return grpc.unary_unary_rpc_method_handler(cast("Callable[..., Awaitable[bytes]]", call))


async def _abort(context: aio.ServicerContext[bytes, bytes], error: ApiError) -> NoReturn:
    metadata: tuple[tuple[str, str | bytes], ...] = (*error.trailing_metadata(), *error.retry_metadata())
    await context.abort(error.reason.status, error.message, metadata)


def _stream_handler(path: str, endpoint: StreamEndpoint, gate: Gate, load: Load) -> grpc.RpcMethodHandler[Any, Any]:
    async def call(payload: bytes, context: aio.ServicerContext[bytes, bytes]) -> None:
        try:
            metadata = context.invocation_metadata() or ()
            authorization = _authorization(metadata)
            world = gate.admit(path, authorization)
            WANTED.set(wanted(metadata))
            load.enter(len(payload))
            try:
                async with aclosing(endpoint(payload, world)) as messages:
                    async for message in messages:
                        await context.write(message)
                        # A key that is revoked meanwhile ends what is under way, too.
                        gate.admit(path, authorization)
            finally:
                load.leave(len(payload))
        except ApiError as error:
            await _abort(context, error)

    return grpc.unary_stream_rpc_method_handler(cast("Callable[..., Any]", call))


def _health(servicer: health.aio.HealthServicer) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    messages = health._health_pb2  # noqa: SLF001 - the package has no other name for its messages
    reading = {
        "request_deserializer": messages.HealthCheckRequest.FromString,
        "response_serializer": messages.HealthCheckResponse.SerializeToString,
    }
    return {
        f"/{health.SERVICE_NAME}/Check": grpc.unary_unary_rpc_method_handler(servicer.Check, **reading),
        f"/{health.SERVICE_NAME}/Watch": grpc.unary_stream_rpc_method_handler(servicer.Watch, **reading),
    }
