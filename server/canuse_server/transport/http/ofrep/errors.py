"""Errors as OFREP has them: an OpenFeature error code, and in `errorDetails` what an API error says."""

from enum import StrEnum
from typing import Final

from grpc import StatusCode
from starlette.responses import JSONResponse

from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.transport.http.errors import CODES, code_of, error_headers

_BAD_REQUEST: Final = CODES[StatusCode.INVALID_ARGUMENT].http_status
_NOT_FOUND: Final = CODES[StatusCode.NOT_FOUND].http_status


class ErrorCode(StrEnum):
    """The error codes of OpenFeature that a server sends."""

    PARSE_ERROR = "PARSE_ERROR"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    GENERAL = "GENERAL"


class ContextError(ApiError):
    """A request without a usable evaluation context."""

    def __init__(self, error_code: ErrorCode, field: str, text: str) -> None:
        super().__init__(ErrorReason.INVALID_FIELD, f"{field}: {text}", violations=[(field, text)])
        self.error_code = error_code


def failure(error: ApiError, flag: str | None = None) -> JSONResponse:
    """Return the answer that an error is, when one flag was asked for or, with None, all."""
    code, http_status = _code_and_status(error)
    return failure_response(code, _details(error), http_status, error_headers(error), flag)


def failure_response(
    code: ErrorCode, details: str, http_status: int, headers: dict[str, str], flag: str | None = None
) -> JSONResponse:
    """Return an answer with an error code."""
    body = {} if flag is None else {"key": flag}
    return JSONResponse({**body, "errorCode": code, "errorDetails": details}, http_status, headers)


def _code_and_status(error: ApiError) -> tuple[ErrorCode, int]:
    if isinstance(error, ContextError):
        return error.error_code, _BAD_REQUEST
    fields = {field for field, _ in error.violations}
    if error.reason is ErrorReason.USER_NOT_FOUND or "user_id" in fields:
        return ErrorCode.INVALID_CONTEXT, _BAD_REQUEST
    if error.reason is ErrorReason.FEATURE_NOT_FOUND or "feature_id" in fields:
        return ErrorCode.FLAG_NOT_FOUND, _NOT_FOUND
    return ErrorCode.GENERAL, code_of(error).http_status


def _details(error: ApiError) -> str:
    """Return the message of an error, with the names that the caller knows its fields by."""
    return error.message.replace("user_id: ", "context.targetingKey: ").replace("feature_id: ", "key: ")
