"""A GraphQL API as an ASGI application.

The GraphQL library is imported with the first request: it takes a moment, and most servers are never asked.
"""

import asyncio
import importlib
import time
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher
from canuse_server.api.errors import ApiError
from canuse_server.runtime.fairness import YieldBudget
from canuse_server.transport.http.body import BodyTooLargeError, read_body
from canuse_server.transport.http.calls import DEFAULT_TIMEOUT_SECONDS, check_uncompressed, convert, in_worker
from canuse_server.transport.http.errors import code_of, error_headers
from canuse_server.transport.http.json_in_steps import COMPACT, dumps
from canuse_server.transport.http.kana.calls import Calls
from canuse_server.transport.http.kana.credentials import check_credentials, metadata_of
from canuse_server.transport.http.kana.errors import INTERNAL, KanaError, error_fields
from canuse_server.transport.http.kana.request import MAX_BODY_BYTES, read_request
from canuse_server.transport.http.kana.work import Work

if TYPE_CHECKING:
    from canuse_server.transport.http.kana.execution import Api

JSON: Final = "application/json"
"""The content type of answers: Kana's client does not read those of another one."""
USER_ID: Final = "x-user-id"
TOO_LATE: Final = "the request took too long and was given up; of its mutations, some may have been made"
LARGE: Final = 100
"""Number of objects in lists from which on an answer is written in another thread."""


class GraphqlEndpoint:
    """One of Kana's GraphQL APIs."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        reading: AdmissionLimit,
        pace: YieldBudget,
        package: str,
        methods: tuple[str, ...],
    ) -> None:
        """`package` has the function `api`; `methods`: those of which a caller needs one."""
        self._dispatcher = dispatcher
        self._reading = reading
        self._pace = pace
        self._package = package
        self._methods = methods
        self._loading: asyncio.Task[Api] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method != "POST":
            error = KanaError(f"GraphQL is called with POST, not {request.method}")
            return _failure(error, 405, {"allow": "POST"})
        deadline = time.monotonic() + DEFAULT_TIMEOUT_SECONDS
        try:
            metadata = metadata_of(request)
            check_credentials(self._dispatcher, self._methods, metadata, request.url.path)
        except ApiError as error:
            # As Kana answers: clients read the error in the body, and take another status for a failure of the network.
            return _failure(error, 200, error_headers(error))
        try:
            check_uncompressed("content-encoding", request.headers.get("content-encoding"))
            async with read_body(request, MAX_BODY_BYTES, self._reading) as body:
                graphql_request = await convert(read_request, body)
                calls = Calls(self._dispatcher, metadata, deadline, self._pace)
                work = Work(calls, graphql_request.variables, request.headers.get(USER_ID))
                try:
                    async with asyncio.timeout_at(deadline):
                        api = await self._api()
                        with self._pace.under_way():
                            result = await api.execute(graphql_request, work)
                except TimeoutError:
                    return _failure(KanaError(TOO_LATE, INTERNAL), 504)
                finally:
                    await calls.close()
        except BodyTooLargeError as error:
            text = f"the request must be at most {MAX_BODY_BYTES} bytes; {error.size} were sent"
            return _failure(KanaError(text), 400)
        except (ApiError, KanaError) as error:
            status, headers = (
                (400, None) if isinstance(error, KanaError) else (code_of(error).http_status, error_headers(error))
            )
            return _failure(error, status, headers)
        large = work.objects > LARGE
        answer = await in_worker(_dumps, result.body, large) if large else _dumps(result.body)
        return Response(answer, 200, result.headers, JSON)

    async def _api(self) -> "Api":
        if self._loading is None or (self._loading.done() and self._loading.exception() is not None):
            self._loading = asyncio.create_task(asyncio.to_thread(self._load))
        return await asyncio.shield(self._loading)

    def _load(self) -> "Api":
        found: Api = importlib.import_module(self._package).api()
        return found


def _dumps(body: dict[str, Any], large: bool = False) -> bytes:
    return dumps(body, large=large, separators=COMPACT).encode(errors="surrogatepass")


def _failure(error: ApiError | KanaError, http_status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(_dumps({"errors": [error_fields(error)]}), http_status, headers, JSON)
