"""The public port for gRPC: opened, answering, and closed."""

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from grpc import aio

from canuse_server.api.dispatch import Dispatcher, Observer
from canuse_server.app.folders import private_folder
from canuse_server.app.ports import ListenError
from canuse_server.auth.access import is_loopback
from canuse_server.settings import Settings
from canuse_server.store.redis.client import Store
from canuse_server.transport import aio_server, tls
from canuse_server.transport.shutdown import Deadline

if TYPE_CHECKING:
    from canuse_server.transport.http.server import HttpServer
    from canuse_server.transport.native.server import NativeTransport


def _native(settings: Settings, certificates: tls.Certificates | None) -> "type[NativeTransport] | None":
    """Return the native transport, or None if it is not selected or not installed."""
    transport = settings.transport
    # It decompresses requests without a limit, so only an explicit setting opens it to other machines.
    if certificates is not None or (transport == "auto" and not is_loopback(settings.listen)):
        transport = "grpcio"
    if transport == "grpcio":
        return None
    try:
        from canuse_server.transport.native.server import NativeTransport  # noqa: PLC0415 - not available on every platform
    except ImportError:
        if transport == "native":
            raise ListenError("the native transport needs the package pygrpc-native") from None
        return None
    return NativeTransport


def listen(
    settings: Settings,
    certificates: tls.Certificates | None,
    server: aio.Server,
    dispatcher: Dispatcher,
    store: Store,
    stack: AsyncExitStack,
    share_port: bool,
    observer: Observer | None,
    *,
    with_metrics: bool,
) -> tuple[str, "NativeTransport | None"]:
    """Open the public port; return its address, and the native transport if that has opened it.

    Connections and calls wait there until they are answered.
    """
    host = settings.listen.rpartition(":")[0]
    native = _native(settings, certificates)
    try:
        if native is None:
            return f"{host}:{aio_server.open_port(server, settings.listen, certificates)}", None
        fallback = private_folder(stack) / "grpc.sock"
        server.add_insecure_port(f"unix:{fallback}")
        front = native(
            settings.listen,
            fallback,
            dispatcher,
            store,
            share_port=share_port,
            observer=observer,
            with_metrics=with_metrics,
        )
        port = front.listen()
        # Callbacks run in reverse order: calls in flight end in the lane, then on the server, then the port closes.
        stack.push_async_callback(front.close)
    except (RuntimeError, OSError) as error:
        raise ListenError(f"can't listen on {settings.listen}: {error}") from error
    return f"{host}:{port}", front


async def answer(
    server: aio.Server,
    front: "NativeTransport | None",
    http: "HttpServer | None",
    stack: AsyncExitStack,
    deadline: Deadline,
) -> None:
    """Start to answer calls on all ports."""
    await server.start()
    stack.push_async_callback(_stop, server, deadline)
    if front is not None:
        front.serve()
        stack.push_async_callback(front.drain, deadline)
    if http is not None:
        await http.start()
        # Before the gRPC port is drained, so that both have the same time for it.
        stack.callback(http.begin_to_end)


def transport_name(certificates: tls.Certificates | None) -> str:
    """Return the name of the reference transport in the line printed at startup."""
    return "grpcio" if certificates is None else f"grpcio with {certificates.description}"


async def _stop(server: aio.Server, deadline: Deadline) -> None:
    await server.stop(deadline.remaining())
