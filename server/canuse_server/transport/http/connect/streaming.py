"""Calls that answer with a stream: messages in envelopes, and after them one that says how the call ended."""

import asyncio
import json
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from grpc import StatusCode
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.context import CallContext
from canuse_server.api.dispatch import Dispatcher
from canuse_server.api.errors import ApiError, deadline_passed, invalid
from canuse_server.api.methods import Method
from canuse_server.transport.http.body import BodyTooLargeError, read_body, too_large
from canuse_server.transport.http.calls import check_uncompressed, metadata, seconds_left
from canuse_server.transport.http.connect.call import (
    VERSION,
    Codec,
    Codecs,
    check_version,
    timeout_seconds,
)
from canuse_server.transport.http.errors import FormError, error_body, error_response, refusal

PREFIX: Final = "application/connect+"
ENVELOPE: Final = struct.Struct(">BI")
"""Before each message: its flags and its length."""
END: Final = 0b10
"""The flag of the last envelope of an answer, which has an error or nothing in it, always as JSON."""


class StreamingCall:
    """A method that answers with a stream, as an ASGI application."""

    def __init__(self, dispatcher: Dispatcher, reading: AdmissionLimit, method: Method) -> None:
        self._dispatcher = dispatcher
        self._reading = reading
        self._method = method
        self._name = method.path.rpartition("/")[2]
        self._codecs = Codecs(method, PREFIX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope, receive)
        if request.method != "POST":
            text = f"{self._name} is called with POST, not {request.method}"
            await refusal(StatusCode.UNIMPLEMENTED, text, 405, {"allow": "POST"})(scope, receive, send)
            return
        try:
            content_type, codec = self._codecs.of(request)
        except FormError as error:
            await self._refuse(request, error)(scope, receive, send)
            return
        # All read before the answer begins: from then on whoever sends it waits for the caller to go away.
        try:
            context = self._dispatcher.open(self._method.path, metadata(request))
            payload = await self._read(request, context, codec)
        except ApiError as error:
            await Response(_end(error), media_type=content_type)(scope, receive, send)
            return
        async with aclosing(self._answer(context, payload, codec, timeout_seconds(request))) as envelopes:
            await StreamingResponse(envelopes, media_type=content_type)(scope, receive, send)

    def _refuse(self, request: Request, error: ApiError) -> Response:
        """Return the answer to a caller who may call, but in no such content type."""
        try:
            with self._dispatcher.reading(self._dispatcher.open(self._method.path, metadata(request))):
                raise error
        except ApiError as refusal:
            return error_response(refusal)

    async def _answer(
        self, context: CallContext, payload: bytes, codec: Codec, seconds: float | None
    ) -> AsyncGenerator[bytes, None]:
        """Yield messages in envelopes, and then how they ended."""
        try:
            async with asyncio.timeout(None if seconds is None else seconds_left(context, seconds)):
                async with aclosing(self._dispatcher.stream(context, payload)) as messages:
                    async for message in messages:
                        yield _envelope(await codec.encode(message))
        except TimeoutError:
            yield _end(deadline_passed())
        except ApiError as error:
            yield _end(codec.named(error))
        else:
            yield _end()

    async def _read(self, request: Request, context: CallContext, codec: Codec) -> bytes:
        """Return the request of a call; tell the observer of errors."""
        with self._dispatcher.reading(context):
            check_version(request.headers.get(VERSION))
            timeout_seconds(request)
            for name in ("content-encoding", "connect-content-encoding"):
                check_uncompressed(name, request.headers.get(name))
            max_bytes = codec.max_bytes + ENVELOPE.size
            try:
                async with read_body(request, max_bytes, self._reading) as body:
                    return await codec.decode(_message(body))
            except BodyTooLargeError as error:
                raise too_large(error, max_bytes, self._name) from None


def _envelope(message: bytes, flags: int = 0) -> bytes:
    return ENVELOPE.pack(flags, len(message)) + message


def _end(error: ApiError | None = None) -> bytes:
    end = {} if error is None else {"error": error_body(error)}
    return _envelope(json.dumps(end, ensure_ascii=False).encode(), END)


def _message(body: bytes) -> bytes:
    """Return the one message in the body of a request; raise ApiError where there is something else."""
    if len(body) >= ENVELOPE.size:
        flags, length = ENVELOPE.unpack_from(body)
        if flags == 0 and length == len(body) - ENVELOPE.size:
            return body[ENVELOPE.size :]
    accepted = "must be one envelope: a byte 0, the length of the message in four bytes, and the message"
    raise invalid([("request", f"{accepted}; something else was sent")])
