"""`kana publish`: makes the catalogue what a file says, all of it or nothing."""

from typing import Any

from starlette.responses import Response

from canuse import v1
from canuse_server.api.errors import ApiError
from canuse_server.transport.http.errors import code_of, error_headers
from canuse_server.transport.http.kana.applying import apply
from canuse_server.transport.http.kana.calls import Calls
from canuse_server.transport.http.kana.cli import pull
from canuse_server.transport.http.kana.cli.document import problems_of, read_document
from canuse_server.transport.http.kana.cli.endpoint import ERROR, lines_response
from canuse_server.transport.http.kana.errors import KanaError


class _RefusedError(Exception):
    """A file has problems."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines


async def answer(calls: Calls, sent: dict[str, Any] | None) -> Response:
    """Publish a file; return the catalogue as it is then."""
    if sent is None:
        raise KanaError("there is nothing to publish")

    request = v1.ApplyCatalogRequest()

    async def build() -> v1.ApplyCatalogRequest:
        nonlocal request
        document = await read_document(calls, sent)
        if document.problems:
            raise _RefusedError([f"{ERROR} {problem}" for problem in document.problems])
        request = document.request
        return request

    try:
        await apply(calls, build)
    except _RefusedError as refused:
        return lines_response(refused.lines, 400)
    except ApiError as error:
        lines = [f"{ERROR} {problem}" for problem in problems_of(error, request)]
        return lines_response(lines, code_of(error).http_status, error_headers(error))
    return await pull.answer(calls, None)
