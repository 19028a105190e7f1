"""Calls that answer once: `POST` with the request as the body, and `GET` with it in the query for methods that read."""

import base64
import binascii
from typing import Final

from grpc import StatusCode
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.context import CallContext
from canuse_server.api.dispatch import Dispatcher
from canuse_server.api.errors import ApiError, invalid
from canuse_server.api.methods import Method
from canuse_server.transport.http.body import BodyTooLargeError, read_body, too_large
from canuse_server.transport.http.calls import DEFAULT_TIMEOUT_SECONDS, check_uncompressed, metadata, seconds_left
from canuse_server.transport.http.connect.call import (
    VERSION,
    Codec,
    Codecs,
    check_version,
    timeout_seconds,
)
from canuse_server.transport.http.errors import UNSUPPORTED_MEDIA_TYPE, FormError, error_response, refusal

PREFIX: Final = "application/"
_QUERY: Final = ("connect", "encoding", "base64", "compression", "message")
"""What a `GET` may have in its query."""


class UnaryCall:
    """A method that answers once, as an ASGI application."""

    def __init__(self, dispatcher: Dispatcher, reading: AdmissionLimit, method: Method) -> None:
        self._dispatcher = dispatcher
        self._reading = reading
        self._method = method
        self._name = method.path.rpartition("/")[2]
        self._codecs = Codecs(method, PREFIX)
        self._verbs = ("POST",) if method.writes else ("GET", "POST")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method not in self._verbs:
            accepted = ", ".join(self._verbs)
            text = f"{self._name} is called with {' or '.join(self._verbs)}, not {request.method}"
            return refusal(StatusCode.UNIMPLEMENTED, text, 405, {"allow": accepted})
        try:
            context = self._dispatcher.open(self._method.path, metadata(request))
            content_type, codec, payload = await self._read(request, context)
            seconds = timeout_seconds(request)
            left = seconds_left(context, DEFAULT_TIMEOUT_SECONDS if seconds is None else seconds)
        except ApiError as error:
            return error_response(error)
        try:
            answer = await self._dispatcher.unary(context, payload, left)
        except ApiError as error:
            return error_response(codec.named(error))
        return Response(await codec.encode(answer), media_type=content_type)

    async def _read(self, request: Request, context: CallContext) -> tuple[str, Codec, bytes]:
        """Return the content type of the answer, its codec, and the request of a call; tell the observer of errors."""
        with self._dispatcher.reading(context):
            timeout_seconds(request)
            if request.method == "GET":
                return await self._read_query(request)
            check_version(request.headers.get(VERSION))
            content_type, codec = self._codecs.of(request)
            check_uncompressed("content-encoding", request.headers.get("content-encoding"))
            try:
                async with read_body(request, codec.max_bytes, self._reading) as body:
                    return content_type, codec, await codec.decode(body)
            except BodyTooLargeError as error:
                raise too_large(error, codec.max_bytes, self._name) from None

    async def _read_query(self, request: Request) -> tuple[str, Codec, bytes]:
        query = request.query_params
        for name in _QUERY:
            if (count := len(query.getlist(name))) > 1:
                raise invalid([(name, f"must be given once; it was sent {count} times")])
        check_version(query.get("connect"), "connect", "v1")
        check_uncompressed("compression", query.get("compression"))
        encoding = query.get("encoding", "")
        codec = self._codecs.by_name.get(encoding)
        if codec is None:
            accepted = " or ".join(self._codecs.by_name)
            raise FormError(UNSUPPORTED_MEDIA_TYPE, "encoding", f"must be {accepted}; {encoding[:80]!r} was sent")
        message = query.get("message")
        if message is None:
            raise invalid([("message", "must be the request; nothing was sent")])
        body = _from_base64(message) if query.get("base64") == "1" else message.encode("utf-8", "surrogateescape")
        return f"{PREFIX}{encoding}", codec, await codec.decode(body)


def _from_base64(text: str) -> bytes:
    """Return what a text in base64 stands for: with the characters for URLs or the usual ones, padded or not."""
    try:
        plain = text.translate(str.maketrans("-_", "+/")).rstrip("=")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid([("message", "must be base64, as base64=1 says; other characters were sent")]) from None
