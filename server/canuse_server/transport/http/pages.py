"""Pages for people, and the files that they load."""

from collections.abc import Mapping

from grpc import StatusCode
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from canuse_server.transport.http.errors import refusal


class Page(Route):
    """A page that a link on another site may lead to. It must do nothing by being opened."""


class StaticContent:
    """A text that everybody may read, as an ASGI application."""

    def __init__(self, content: str | bytes, media_type: str, headers: Mapping[str, str] | None = None) -> None:
        self._content = content
        self._media_type = media_type
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        method = Request(scope).method
        if method in ("GET", "HEAD"):
            answer = Response(self._content, headers=self._headers, media_type=self._media_type)
        else:
            text = f"{scope['path']} is read with GET, not {method}"
            answer = refusal(StatusCode.UNIMPLEMENTED, text, 405, {"allow": "GET, HEAD"})
        await answer(scope, receive, send)
