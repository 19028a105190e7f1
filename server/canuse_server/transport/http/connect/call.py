"""Shared by all calls over Connect: codecs, the protocol version and the time limit."""

from typing import Final

from starlette.requests import Request

from canuse_server.api.bounds import MAX_REQUEST_BYTES, method_bytes
from canuse_server.api.errors import ApiError, invalid
from canuse_server.api.methods import Method
from canuse_server.transport.http.calls import convert, media_type
from canuse_server.transport.http.connect.json_codec import JsonCodec

TIMEOUT: Final = "connect-timeout-ms"
TIMEOUT_DIGITS: Final = 10
VERSION: Final = "connect-protocol-version"
JSON_FACTOR: Final = 3
"""Maximum ratio of the size of JSON to that of protobuf: an escaped character takes up to three times as many bytes."""


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
        return body if self._json is None else await convert(self._json.decode, body)

    def named(self, error: ApiError) -> ApiError:
        """Return an error of the method with the names of fields that the caller writes."""
        return error if self._json is None else self._json.named(error)

    async def encode(self, answer: bytes) -> bytes:
        """Return an answer as the caller reads it."""
        return answer if self._json is None else await convert(self._json.encode, answer)


class Codecs:
    """The codecs of a method by their content types."""

    def __init__(self, method: Method, prefix: str) -> None:
        """`prefix`: what the content types begin with."""
        found = (Codec(method, is_json=True), Codec(method, is_json=False))
        self._by_type = {f"{prefix}{codec.name}": codec for codec in found}
        self.by_name = {codec.name: codec for codec in found}

    def of(self, request: Request) -> tuple[str, Codec]:
        """Return the content type of a request and its codec; raise FormError where there is none."""
        name = media_type(request, self._by_type)
        return name, self._by_type[name]


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
