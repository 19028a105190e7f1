"""The API on the wire: raw stubs, and failed calls as a client in any language sees them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar, cast

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from canuse import v1
from support.connect import ConnectChannel
from support.processes import Canuse

TIMEOUT_SECONDS: Final = 30
# Words of Redis, Lua and Python that a caller must never see, except those that messages need.
INTERNALS: Final = re.compile(
    r"traceback|\.py\b|\.lua\b|\blua\b|redis|valkey|evalsha|hmget|noscript|wrongtype|canuse:|127\.0\.0\.1|\.sock"
    r"|exception|keyerror|valueerror|typeerror|assert|0x[0-9a-f]{6}",
    re.IGNORECASE,
)
_Detail = TypeVar("_Detail", bound=Message)


class Stubs:
    """The generated stubs of all services, on one channel. They validate nothing, so bad input is sent as it is."""

    def __init__(self, address: str, channel: grpc.Channel | None = None) -> None:
        self.channel = channel or grpc.insecure_channel(address)
        self.entitlements = v1.EntitlementServiceStub(self.channel)
        self.usage = v1.UsageServiceStub(self.channel)
        self.catalog = v1.CatalogServiceStub(self.channel)
        self.users = v1.UserServiceStub(self.channel)
        self.subscriptions = v1.SubscriptionServiceStub(self.channel)
        self.api_keys = v1.ApiKeyServiceStub(self.channel)
        self.audit = v1.AuditServiceStub(self.channel)

    def call_raw(self, path: str, payload: bytes) -> bytes:
        """Send bytes as the request of a method, given by its path."""
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(path)
        return method(payload, timeout=TIMEOUT_SECONDS)


def stubs_of(server: Canuse) -> Stubs:
    """Return the stubs of a server, over HTTP if it has an HTTP port."""
    return Stubs(server.address, ConnectChannel(server.http_url) if server.http_url else None)


@dataclass(frozen=True)
class Failure:
    """A failed call as its caller sees it."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    violations: dict[str, str]

    @property
    def fields(self) -> list[str]:
        """The rejected fields, sorted."""
        return sorted(self.violations)


def failure(call: Callable[..., object], *arguments: object) -> Failure:
    """Make a call that must fail, check what holds for every error of the API, and return the error.

    That is: one ErrorInfo of the domain canuse; a BadRequest exactly for bad input; the status repeated in the details;
    a message without the server's internals.
    """
    try:
        answer = call(*arguments)
    except grpc.RpcError as error:
        return _read(cast("grpc.Call", error))
    raise AssertionError(f"the call succeeded: {answer}")


def _read(error: grpc.Call) -> Failure:
    trailers = dict(error.trailing_metadata() or ())
    code, message = error.code(), error.details() or ""
    packed = trailers.get("grpc-status-details-bin")
    assert isinstance(packed, bytes), f"there are no details: {code} {message}"
    status = Status.FromString(packed)
    assert (status.code, status.message) == (code.value[0], message)
    [info] = _unpack(status, ErrorInfo)
    assert info.domain == "canuse"
    assert re.fullmatch("[A-Z][A-Z_]+", info.reason)
    found = [violation for request in _unpack(status, BadRequest) for violation in request.field_violations]
    violations = {violation.field: violation.description for violation in found}
    assert bool(violations) == (code == grpc.StatusCode.INVALID_ARGUMENT), message
    for text in (message, *violations.values()):
        assert text
        assert not INTERNALS.search(text), text
    for field in violations:
        assert field in message
    return Failure(code, message, info.reason, dict(info.metadata), violations)


def _unpack(status: Status, kind: type[_Detail]) -> list[_Detail]:
    found = []
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            found.append(detail)
    return found


def moment(time: datetime) -> Timestamp:
    """Return a time as a message, with microseconds."""
    message = Timestamp()
    message.FromDatetime(time)
    return message
