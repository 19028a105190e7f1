"""The ASGI application of the port for operations: health and metrics, without keys, and nothing about users."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from canuse_server.transport.http.guards import LOCAL_HOSTS, is_local_name

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def application(
    is_ready: Callable[[], Awaitable[bool]], metrics: Callable[[], Awaitable[bytes]], *, is_local: bool
) -> ASGIApp:
    """Return the application. `is_local`: only this machine reaches it, by the names of the loopback.

    Then it answers to no other name: a web page whose name leads to the loopback reads nothing. Elsewhere it answers to
    any, as probes and collectors use the addresses of pods and names that this server does not know.
    """

    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok\n", headers=HEADERS)

    async def readyz(_: Request) -> Response:
        if await is_ready():
            return PlainTextResponse("ok\n", headers=HEADERS)
        text = "not ready: the server is starting or stopping, or its store has lost its data; see the log\n"
        return PlainTextResponse(text, status_code=503, headers=HEADERS)

    one_at_a_time = asyncio.Lock()

    async def scrape(_: Request) -> Response:
        async with one_at_a_time:
            content = await metrics()
        return Response(content, media_type=CONTENT_TYPE, headers=HEADERS)

    routes = {"/livez": livez, "/readyz": readyz, "/metrics": scrape}
    app = Starlette(routes=[Route(path, endpoint, methods=["GET"]) for path, endpoint in routes.items()])

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        # Browsers send the header; probes of HTTP/1.0 do not.
        if is_local and not all(map(is_local_name, Headers(scope=scope).getlist("host"))):
            accepted = ", ".join(sorted(LOCAL_HOSTS))
            text = f"on the loopback the header Host must be one of {accepted}; see docs/metrics.md\n"
            await PlainTextResponse(text, status_code=403, headers=HEADERS)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return guarded
