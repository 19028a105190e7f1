"""Answers to requests that are denied, in Starlette and FastAPI. `pip install 'canuse[fastapi]'` brings both."""

from typing import cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from canuse.errors import AccessDenied, CanuseError
from canuse.http import NO_ANSWER, answer_headers, denied_status, error_headers

__all__ = ["handle_errors"]

UNAVAILABLE = "This service is unavailable at the moment. Please try again."


def handle_errors(app: Starlette, *, status: int = 402) -> None:
    """Answer requests whose endpoint was denied a feature, or in which canuse did not answer.

    AccessDenied becomes `status`, with its sentence as `detail` and the header fields of `canuse.http.answer_headers`.
    Unavailable, DeadlineExceeded and Overloaded become 503. Other errors of canuse stay errors of the program.

    Args:
        app: The application.
        status: 402, 403 or 429.

    Raises:
        BadArgument: The status is another.
    """
    code = denied_status(status)

    def denied(_request: Request, error: Exception) -> Response:
        refusal = cast("AccessDenied", error)
        return JSONResponse({"detail": str(refusal)}, code, answer_headers(refusal.answer))

    def no_answer(_request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": UNAVAILABLE}, 503, error_headers(cast("CanuseError", error)))

    app.add_exception_handler(AccessDenied, denied)
    for kind in NO_ANSWER:
        app.add_exception_handler(kind, no_answer)
