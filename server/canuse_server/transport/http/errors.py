"""Errors as answers over HTTP: the status of each, and a body in Connect's form for those that belong to no door."""

import base64
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc import StatusCode
from starlette.responses import JSONResponse

from canuse_server.api.errors import ApiError, ErrorReason


class Code(NamedTuple):
    """A status of gRPC in Connect's words: its name, and the status of the HTTP answer."""

    name: str
    http_status: int


CODES: Final[Mapping[StatusCode, Code]] = {
    StatusCode.CANCELLED: Code("canceled", 499),
    StatusCode.UNKNOWN: Code("unknown", 500),
    StatusCode.INVALID_ARGUMENT: Code("invalid_argument", 400),
    StatusCode.DEADLINE_EXCEEDED: Code("deadline_exceeded", 504),
    StatusCode.NOT_FOUND: Code("not_found", 404),
    StatusCode.ALREADY_EXISTS: Code("already_exists", 409),
    StatusCode.PERMISSION_DENIED: Code("permission_denied", 403),
    StatusCode.RESOURCE_EXHAUSTED: Code("resource_exhausted", 429),
    StatusCode.FAILED_PRECONDITION: Code("failed_precondition", 400),
    StatusCode.ABORTED: Code("aborted", 409),
    StatusCode.OUT_OF_RANGE: Code("out_of_range", 400),
    StatusCode.UNIMPLEMENTED: Code("unimplemented", 501),
    StatusCode.INTERNAL: Code("internal", 500),
    StatusCode.UNAVAILABLE: Code("unavailable", 503),
    StatusCode.DATA_LOSS: Code("data_loss", 500),
    StatusCode.UNAUTHENTICATED: Code("unauthenticated", 401),
}
UNSUPPORTED_MEDIA_TYPE: Final = Code("invalid_argument", 415)
COMPRESSED: Final = Code("unimplemented", 501)
_DETAILS: Final = (ErrorInfo, BadRequest, RetryInfo)
_TYPE_PREFIX: Final = "type.googleapis.com/"


class FormError(ApiError):
    """A request in a form that is not read, for which Connect or HTTP have a code of their own."""

    def __init__(self, form: Code, field: str, text: str) -> None:
        super().__init__(ErrorReason.INVALID_FIELD, f"{field}: {text}", violations=[(field, text)])
        self.form = form


def code_of(error: ApiError) -> Code:
    """Return the code of an error."""
    return error.form if isinstance(error, FormError) else CODES[error.reason.status]


def error_body(error: ApiError) -> dict[str, Any]:
    """Return an error as JSON: its code, its message, and its details as bytes and, in `debug`, for people."""
    return {
        "code": code_of(error).name,
        "message": error.message,
        "details": [_detail(packed) for packed in error.status().details],
    }


def error_headers(error: ApiError) -> dict[str, str]:
    """Return the headers that an error has besides its body."""
    if error.retry_after_seconds is not None:
        return {"retry-after": str(math.ceil(error.retry_after_seconds))}
    return {"www-authenticate": "Bearer"} if error.reason.status is StatusCode.UNAUTHENTICATED else {}


def error_response(error: ApiError) -> JSONResponse:
    """Return the answer that an error is."""
    return JSONResponse(error_body(error), code_of(error).http_status, error_headers(error))


def refusal(code: StatusCode, message: str, http_status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return the answer to a request that no method of the API is asked with."""
    return JSONResponse({"code": CODES[code].name, "message": message}, http_status, headers)


def _detail(packed: AnyMessage) -> dict[str, Any]:
    name = packed.type_url.removeprefix(_TYPE_PREFIX)
    shown: dict[str, Any] = {"type": name, "value": base64.b64encode(packed.value).decode().rstrip("=")}
    for kind in _DETAILS:
        if kind.DESCRIPTOR.full_name == name:
            shown["debug"] = MessageToDict(kind.FromString(packed.value))
    return shown
