"""Reading the evaluation context: all that is used of it is the targeting key. Other attributes are ignored."""

from typing import Final

from starlette.requests import Request

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.errors import ApiError
from canuse_server.transport.http.body import BodyTooLargeError, read_body
from canuse_server.transport.http.calls import check_uncompressed, convert, media_type
from canuse_server.transport.http.json_object import is_unicode, kind, read_object, sent
from canuse_server.transport.http.ofrep.errors import ContextError, ErrorCode

MAX_BODY_BYTES: Final = 64 << 10
JSON: Final = "application/json"
FORM: Final = 'a JSON object with a "context"'
TARGETING_KEY: Final = "context.targetingKey"


async def read_targeting_key(request: Request, reading: AdmissionLimit) -> str:
    """Return the targeting key in the body of a request; raise ApiError where there is none."""
    media_type(request, (JSON,))
    check_uncompressed("content-encoding", request.headers.get("content-encoding"))
    try:
        async with read_body(request, MAX_BODY_BYTES, reading) as body:
            return await convert(_targeting_key, body)
    except BodyTooLargeError as error:
        text = f"must be at most {MAX_BODY_BYTES} bytes; {error.size} were sent"
        raise ContextError(ErrorCode.PARSE_ERROR, "request", text) from None


def _targeting_key(body: bytes) -> str:
    try:
        context = read_object(body, FORM).get("context")
    except ApiError as error:
        raise ContextError(ErrorCode.PARSE_ERROR, *error.violations[0]) from None
    if context is None:
        raise ContextError(ErrorCode.TARGETING_KEY_MISSING, TARGETING_KEY, "must be the id of a user; nothing was sent")
    if not isinstance(context, dict):
        raise ContextError(ErrorCode.INVALID_CONTEXT, "context", f"must be an object; {kind(context)} was sent")
    key = context.get("targetingKey")
    if key is None or key == "":
        raise ContextError(ErrorCode.TARGETING_KEY_MISSING, TARGETING_KEY, "must be the id of a user; nothing was sent")
    if not (isinstance(key, str) and is_unicode(key)):
        raise ContextError(ErrorCode.INVALID_CONTEXT, TARGETING_KEY, f"must be a string; {sent(key)} was sent")
    return key
