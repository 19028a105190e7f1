"""The Connect protocol (connectrpc.com): every method of the API as a plain HTTP request, in JSON or protobuf.

Its paths are those of gRPC. Unary calls are in `unary.py`, calls that answer with a stream in `streaming.py`.
"""

from collections.abc import Iterator

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher
from canuse_server.api.methods import method_at
from canuse_server.transport.http.connect.streaming import StreamingCall
from canuse_server.transport.http.connect.unary import UnaryCall
from canuse_server.transport.http.guards import not_found


class Service:
    """The methods of a service."""

    def __init__(self, calls: dict[str, ASGIApp]) -> None:
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request by its path."""
        await self._calls.get(scope["path"], not_found)(scope, receive, send)


def routes(dispatcher: Dispatcher, reading: AdmissionLimit) -> Iterator[Route]:
    """Yield a route for each service. `reading` bounds the bodies that are read at a time."""
    services: dict[str, dict[str, ASGIApp]] = {}
    for path in dispatcher.paths:
        method = method_at(path)
        kind = StreamingCall if method.streams else UnaryCall
        services.setdefault(path.split("/")[1], {})[path] = kind(dispatcher, reading, method)
    for name, calls in services.items():
        yield Route(f"/{name}/{{method}}", Service(calls))
