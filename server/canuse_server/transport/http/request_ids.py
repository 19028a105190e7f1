"""The request id of a request over HTTP: accepted or new, and returned."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from canuse_server.api.metadata import REQUEST_ID, request_id, with_request_id


class RequestIds:
    """An ASGI application around another one, whose requests have exactly one request id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        accepted = request_id(with_request_id(Headers(scope=scope).items()))
        others = [(name, value) for name, value in scope["headers"] if name != REQUEST_ID.encode()]
        scope["headers"] = [*others, (REQUEST_ID.encode(), accepted.encode())]

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(raw=message["headers"])[REQUEST_ID] = accepted
            await send(message)

        await self._app(scope, receive, send_with_id)
