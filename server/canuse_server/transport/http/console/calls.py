"""The calls of the API that a page makes, as its visitor."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, NamedTuple, TypeVar

from google.protobuf.message import Message

from canuse_server.api.dispatch import Dispatcher
from canuse_server.api.metadata import AUTHORIZATION, REQUEST_ID, Metadata
from canuse_server.api.methods import method_at
from canuse_server.auth.authorizer import Caller
from canuse_server.transport.http.calls import DEFAULT_TIMEOUT_SECONDS, convert
from canuse_server.transport.http.console.sessions import Visitor

_V1: Final = "/canuse.v1."
_Answer = TypeVar("_Answer", bound=Message)


class Made(NamedTuple):
    """A call that was made, to be shown."""

    path: str
    request: Message


class Calls:
    """Calls methods of the API by name: `UserService/GetUser`, or with the package before it."""

    def __init__(self, dispatcher: Dispatcher, visitor: Visitor, request_id: str | None) -> None:
        self._dispatcher = dispatcher
        self._metadata: Metadata = [] if request_id is None else [(REQUEST_ID, request_id)]
        if visitor.credentials is not None:
            self._metadata = [*self._metadata, (AUTHORIZATION, visitor.credentials)]
        self._caller: Caller | None = visitor.caller
        self._deadline = time.monotonic() + DEFAULT_TIMEOUT_SECONDS
        self.made: list[Made] = []

    def may(self, method: str) -> bool:
        """Whether the server has a method and the visitor's key permits it."""
        path = _path(method)
        return self._caller is not None and path in self._caller.paths and path in self._dispatcher.paths

    def authorize(self, method: str) -> None:
        """Raise ApiError if the visitor may not call a method."""
        self._dispatcher.open(_path(method), self._metadata)

    async def __call__(self, method: str, request: Message, kind: type[_Answer], *, shown: bool = True) -> _Answer:
        """Call a unary method; raise ApiError where it fails. `shown`: the page shows how a program makes the call."""
        path = _path(method)
        if shown and (call := Made(path, request)) not in self.made:
            self.made.append(call)
        context = self._dispatcher.open(path, self._metadata)
        if not method_at(path).writes:
            # A page does nothing by being opened: it creates no user who gets the default package.
            context.env = context.env.without_default_package()
        left = self._deadline - time.monotonic()
        answer = await self._dispatcher.unary(context, request.SerializeToString(), left)
        return await convert(kind.FromString, answer)

    async def stream(self, method: str, request: Message, kind: type[_Answer]) -> AsyncGenerator[_Answer, None]:
        """Call a method that answers with a stream; raise ApiError where it fails."""
        path = _path(method)
        if (call := Made(path, request)) not in self.made:
            self.made.append(call)
        context = self._dispatcher.open(path, self._metadata)
        async with aclosing(self._dispatcher.stream(context, request.SerializeToString())) as messages:
            async for message in messages:
                yield kind.FromString(message)


def _path(method: str) -> str:
    return f"/{method}" if "." in method else f"{_V1}{method}"
