"""Reading the forms that pages send, and the numbers and times that people type into them."""

from typing import Final
from urllib.parse import parse_qsl

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.requests import Request

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.errors import ApiError, invalid
from canuse_server.transport.http.body import BodyTooLargeError, read_body
from canuse_server.transport.http.calls import check_uncompressed, media_type

MAX_FORM_BYTES: Final = 256 << 10
"""A package with as many features as a form can have, and what it was when the form was shown."""
MAX_FIELDS: Final = 500
TOKEN: Final = "token"  # noqa: S105 - a name
"""The field that says that a form is one of the visitor's own."""
_TYPE: Final = "application/x-www-form-urlencoded"


async def read_form(request: Request, reading: AdmissionLimit) -> dict[str, str]:
    """Return the fields of a form; raise ApiError where it cannot be read."""
    media_type(request, (_TYPE,))
    check_uncompressed("content-encoding", request.headers.get("content-encoding"))
    try:
        async with read_body(request, MAX_FORM_BYTES, reading) as body:
            return dict(
                parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=MAX_FIELDS)
            )
    except BodyTooLargeError as error:
        raise _unreadable(f"must be at most {MAX_FORM_BYTES} bytes; {error.size} were sent") from None
    except ValueError as error:
        raise _unreadable(f"must be fields of a form in UTF-8: {error}") from None


def read_amount(field: str, text: str) -> int:
    """Return a whole number that somebody has typed; raise ApiError."""
    digits = text.replace(",", "").replace("\u202f", "").replace(" ", "")
    if not (digits.removeprefix("-").isascii() and digits.removeprefix("-").isdecimal() and len(digits) <= 17):
        raise invalid([(field, f"must be a whole number; {text[:40]!r} was sent")])
    return int(digits)


def read_time(field: str, text: str) -> Timestamp:
    """Return the time in a field of a form, which browsers send without a zone; raise ApiError."""
    time = Timestamp()
    try:
        time.FromJsonString(text if text.endswith("Z") else f"{text}{'' if text.count(':') > 1 else ':00'}Z")
    except ValueError:
        raise invalid([(field, f"must be a time like 2026-01-31T12:00; {text[:40]!r} was sent")]) from None
    return time


def _unreadable(text: str) -> ApiError:
    return invalid([("form", text)])
