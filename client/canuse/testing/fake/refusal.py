"""Refusals of the service in memory: the errors of the API that it knows, with the details that a server sends."""

from typing import Any, Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from canuse.errors import DETAILS_KEY, DOMAIN

_CODES: Final = {
    "INVALID_FIELD": grpc.StatusCode.INVALID_ARGUMENT,
    "STORE_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "UNIMPLEMENTED": grpc.StatusCode.UNIMPLEMENTED,
    "EVENT_ID_REUSED": grpc.StatusCode.ALREADY_EXISTS,
}
_CODES_BY_END: Final = {"_NOT_FOUND": grpc.StatusCode.NOT_FOUND, "_EXISTS": grpc.StatusCode.ALREADY_EXISTS}


class Refusal(grpc.RpcError):
    """A call that failed: the error of gRPC that a stub raises."""

    def __init__(self, reason: str, message: str, /, **ids: str) -> None:
        """Create the error of a reason; `ids` are the ids involved."""
        super().__init__(message)
        self._message = message
        by_end = (code for end, code in _CODES_BY_END.items() if reason.endswith(end))
        self._code = _CODES.get(reason) or next(by_end, grpc.StatusCode.FAILED_PRECONDITION)
        self.status = Status(code=self._code.value[0], message=message)
        """The status with its details, as it appears in the result of a batch."""
        if self._code is not grpc.StatusCode.UNIMPLEMENTED:
            self.add(ErrorInfo(reason=reason, domain=DOMAIN, metadata=ids))

    def add(self, detail: Message) -> None:
        """Add a detail."""
        packed = AnyMessage()
        packed.Pack(detail)
        self.status.details.append(packed)

    def code(self) -> grpc.StatusCode:
        """Return the status."""
        return self._code

    def details(self) -> str:
        """Return the message."""
        return self._message

    def trailing_metadata(self) -> Any:
        """Return the details as a server sends them."""
        return ((DETAILS_KEY, self.status.SerializeToString()),)


def invalid(*violations: tuple[str, str]) -> Refusal:
    """Return the error for invalid fields: pairs of path and problem."""
    refusal = Refusal("INVALID_FIELD", "; ".join(f"{field}: {text}" for field, text in violations))
    fields = [BadRequest.FieldViolation(field=field, description=text) for field, text in violations]
    refusal.add(BadRequest(field_violations=fields))
    return refusal


def not_found(kind: str, name: str) -> Refusal:
    """Return the error for an unknown `user`, `feature`, …."""
    return Refusal(f"{kind.upper()}_NOT_FOUND", f"{kind} {name!r} does not exist", **{f"{kind}_id": name})


def exists(kind: str, name: str) -> Refusal:
    """Return the error for an id that is in use."""
    return Refusal(f"{kind.upper()}_EXISTS", f"{kind} {name!r} already exists", **{f"{kind}_id": name})
