"""What all calls over Connect have in common: how a request becomes a call of the dispatcher."""

import asyncio
import time
from typing import Final

from starlette.requests import Request

from canuse_server.api.bounds import MAX_REQUEST_BYTES, method_bytes
from canuse_server.api.context import CallContext
from canuse_server.api.errors import invalid
from canuse_server.api.metadata import Metadata
from canuse_server.api.methods import Method
from canuse_server.transport.http.connect.json_codec import JsonCodec
from canuse_server.transport.http.errors import COMPRESSED, UNSUPPORTED_MEDIA_TYPE, FormError

TIMEOUT: Final = "connect-timeout-ms"
TIMEOUT_DIGITS: Final = 10
VERSION: Final = "connect-protocol-version"
DEFAULT_TIMEOUT_SECONDS: Final = 30.0
"""How long a unary call may take whose caller does not say how long it waits."""
JSON_FACTOR: Final = 3
"""How much longer JSON may be than protobuf: an escaped character takes up to three times as many bytes."""
UNCOMPRESSED: Final = (None, "", "identity")
OFF_LOOP_BYTES: Final = 16 << 10
"""Messages from this size on are converted in another thread, so that other calls do not wait for that."""


class Codec:
    """Messages of a method as a caller writes them: as JSON, or as they are."""

    def __init__(self, method: Method, *, is_json: bool) -> None:
        self._json = JsonCodec(method.input_type, method.output_type) if is_json else None
        self.name = "json" if is_json else "proto"
        self.max_bytes = (
            min(JSON_FACTOR * method_bytes(method.path), MAX_REQUEST_BYTES) if is_json else MAX_REQUEST_BYTES
        )

    async def decode(self, body: bytes) -> bytes:
        """Return a request in protobuf's wire format; raise ApiError where it is no such message."""
        if self._json is None:
            return body
        if len(body) < OFF_LOOP_BYTES:
            return self._json.decode(body)
        return await asyncio.to_thread(self._json.decode, body)

    async def encode(self, answer: bytes) -> bytes:
        """Return an answer as the caller reads it."""
        if self._json is None:
            return answer
        if len(answer) < OFF_LOOP_BYTES:
            return self._json.encode(answer)
        return await asyncio.to_thread(self._json.encode, answer)


class Codecs:
    """The codecs of a method by their content types."""

    def __init__(self, method: Method, prefix: str) -> None:
        """`prefix`: what the content types begin with."""
        found = (Codec(method, is_json=True), Codec(method, is_json=False))
        self._by_type = {f"{prefix}{codec.name}": codec for codec in found}
        self.by_name = {codec.name: codec for codec in found}

    def of(self, request: Request) -> tuple[str, Codec]:
        """Return the content type of a request and its codec; raise FormError where there is none."""
        sent = request.headers.get("content-type", "")
        media_type, _, parameter = sent.partition(";")
        name = media_type.strip().lower()
        codec = self._by_type.get(name)
        if codec is None or parameter.replace(" ", "").lower() not in ("", "charset=utf-8"):
            accepted = " or ".join(self._by_type)
            raise FormError(UNSUPPORTED_MEDIA_TYPE, "content-type", f"must be {accepted}; {sent[:80]!r} was sent")
        return name, codec


def check_uncompressed(field: str, encoding: str | None) -> None:
    """Raise FormError where a request is compressed: a few bytes could become very many."""
    if encoding not in UNCOMPRESSED:
        raise FormError(COMPRESSED, field, f"must be identity; {encoding[:80]!r} was sent")


def metadata(request: Request) -> Metadata:
    """Return the headers of a request as the metadata of a call."""
    return request.headers.items()


def check_version(version: str | None, field: str = VERSION, accepted: str = "1") -> None:
    """Raise ApiError where a request is of another version of the protocol."""
    if version is not None and version != accepted:
        raise invalid([(field, f"must be {accepted}; {version[:80]!r} was sent")])


def timeout_seconds(request: Request) -> float | None:
    """Return how long the caller of a request waits; None where it does not say."""
    sent = request.headers.get(TIMEOUT)
    if sent is None:
        return None
    if not (sent.isdecimal() and len(sent) <= TIMEOUT_DIGITS):
        accepted = f"must be a number of milliseconds with at most {TIMEOUT_DIGITS} digits"
        raise invalid([(TIMEOUT, f"{accepted}; {sent[:80]!r} was sent")])
    return int(sent) / 1000


def seconds_left(context: CallContext, seconds: float) -> float:
    """Return how much is left of the time of a call, which began when its head came."""
    return seconds - (time.monotonic() - context.arrived_at)
