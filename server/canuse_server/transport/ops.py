"""The ASGI application of the port for operations: health and metrics, without keys, and nothing about users."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def application(is_ready: Callable[[], Awaitable[bool]], metrics: Callable[[], Awaitable[bytes]]) -> Starlette:
    """Return the application."""

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
    return Starlette(routes=[Route(path, endpoint, methods=["GET"]) for path, endpoint in routes.items()])
