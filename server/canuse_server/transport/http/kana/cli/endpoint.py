"""The three routes as ASGI applications. What they say is imported with the first request."""

import asyncio
import importlib
import time
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.bounds import method_bytes
from canuse_server.api.dispatch import Dispatcher
from canuse_server.api.errors import ApiError
from canuse_server.runtime.fairness import YieldBudget
from canuse_server.transport.http.body import BodyTooLargeError, read_body, too_large
from canuse_server.transport.http.calls import DEFAULT_TIMEOUT_SECONDS, check_uncompressed, convert
from canuse_server.transport.http.errors import code_of, error_headers
from canuse_server.transport.http.json_in_steps import dumps
from canuse_server.transport.http.json_object import check_plain, read_object
from canuse_server.transport.http.kana.calls import Calls
from canuse_server.transport.http.kana.credentials import check_credentials, metadata_of
from canuse_server.transport.http.kana.errors import KanaError, error_fields

ERROR: Final = "[ERROR]"
"""How a line begins that keeps Kana's command line from publishing."""
MAX_LINES: Final = 1000
FORM: Final = "a configuration of Kana as a JSON object"
APPLY_PATH: Final = "/canuse.v1.CatalogService/ApplyCatalog"
_METHODS: Final = {"pull": ("GET", "/canuse.v1.CatalogService/ListPackages"), "validate": ("POST", APPLY_PATH)}


class CliEndpoint:
    """A route of Kana's command line."""

    def __init__(self, dispatcher: Dispatcher, reading: AdmissionLimit, pace: YieldBudget, name: str) -> None:
        self._dispatcher = dispatcher
        self._reading = reading
        self._pace = pace
        self._name = name
        self._verb, self._path = _METHODS.get(name, ("POST", APPLY_PATH))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method != self._verb:
            error = KanaError(f"{self._name} is called with {self._verb}, not {request.method}")
            return lines_response([_line(error)], 405, {"allow": self._verb})
        calls = None
        try:
            metadata = metadata_of(request)
            check_credentials(self._dispatcher, (self._path,), metadata, f"kana {self._name}")
            calls = Calls(self._dispatcher, metadata, time.monotonic() + DEFAULT_TIMEOUT_SECONDS, self._pace)
            if self._verb == "GET":
                return await self._run(calls, None)
            check_uncompressed("content-encoding", request.headers.get("content-encoding"))
            async with read_body(request, method_bytes(APPLY_PATH), self._reading) as body:
                return await self._run(calls, await convert(_read, body))
        except BodyTooLargeError as error:
            return lines_response([_line(too_large(error, method_bytes(APPLY_PATH), self._name))], 400)
        except (ApiError, KanaError) as error:
            status = code_of(error).http_status if isinstance(error, ApiError) else 400
            return lines_response([_line(error)], status, error_headers(error) if isinstance(error, ApiError) else None)
        finally:
            if calls is not None:
                await calls.close()

    async def _run(self, calls: Calls, document: dict[str, Any] | None) -> Response:
        package = __package__
        module = await asyncio.to_thread(importlib.import_module, f"{package}.{self._name}")
        with self._pace.under_way():
            response: Response = await module.answer(calls, document)
        return response


def _read(body: bytes) -> dict[str, Any]:
    document = read_object(body, FORM)
    check_plain(document, FORM)
    return document


def lines_response(lines: list[str], http_status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return lines for the command line to print, of very many only the first."""
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"{ERROR} and {len(lines) - MAX_LINES} more"]
    return JSONResponse({"data": lines}, http_status, headers)


def config_response(config: dict[str, Any]) -> Response:
    """Return a configuration."""
    return Response(dumps(config, large=True), media_type="application/json")


def _line(error: ApiError | KanaError) -> str:
    return f"{ERROR} {error_fields(error)['message']}"
