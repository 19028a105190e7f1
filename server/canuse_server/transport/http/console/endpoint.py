"""A path of the console as an ASGI application: who may see it, what it answers, and how errors look."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from canuse_server.api.errors import ApiError, internal, store_error
from canuse_server.api.metadata import REQUEST_ID
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.transport.http.calls import in_worker
from canuse_server.transport.http.console.addresses import address
from canuse_server.transport.http.console.calls import Calls
from canuse_server.transport.http.console.forms import TOKEN, read_form
from canuse_server.transport.http.console.sessions import Visitor
from canuse_server.transport.http.console.site import Site
from canuse_server.transport.http.console.visit import Redirect, View, Visit
from canuse_server.transport.http.errors import code_of, error_headers

log = structlog.get_logger(__name__)

Read = Callable[[Visit], Awaitable[View | Redirect]]
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Pages load their own files only, send forms to their own server, and their scripts write no HTML."""
POLICIES: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    # Of a page that sends no referrer at all, browsers send forms with the origin `null`, as of a page of another site.
    "referrer-policy": "same-origin",
}
_SEE_OTHER: Final = 303
FORBIDDEN: Final = 403


@dataclass(frozen=True)
class Handlers:
    """What answers a path: `read` a GET, `write` the form of a POST. `for_all`: also of those who have to log in."""

    read: Read | None = None
    write: Read | None = None
    for_all: bool = False


class Endpoint:
    """A path of the console."""

    def __init__(self, site: Site, handlers: Handlers) -> None:
        self._site = site
        self._handlers = handlers
        self._by_method = {"GET": handlers.read, "HEAD": handlers.read, "POST": handlers.write}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope, receive)
        visitor = Visitor("", is_new=True)
        try:
            visitor = await self._site.sessions.visitor(request)
            answer = await self._answer(request, visitor)
            if visitor.is_new and "set-cookie" not in answer.headers:
                self._site.sessions.set_cookie(answer, visitor)
        except ApiError as error:
            answer = await self._failure(request, visitor, error)
        except (StoreUnavailableError, OutcomeUnknownError) as error:
            answer = await self._failure(request, visitor, store_error(error))
        except (ClientDisconnect, asyncio.CancelledError):
            raise
        except Exception as error:
            log.error("a page of the console failed with an internal error", path=scope["path"], exc_info=error)
            answer = await self._failure(request, visitor, internal())
        await answer(scope, receive, send)

    async def _answer(self, request: Request, visitor: Visitor) -> Response:
        handler = self._by_method.get(request.method)
        visit = self._visit(request, visitor)
        if handler is None:
            allowed = ", ".join(method for method, found in self._by_method.items() if found)
            view = View("problem.html", {"title": "This page cannot be opened like that", "text": ""}, 405)
            return await self._page(visit, view, {"allow": allowed})
        if visitor.caller is None and not self._handlers.for_all:
            back = str(request.url.path) + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(address("/login", to=back if request.method == "GET" else ""), _SEE_OTHER)
        if request.method == "POST":
            form = await read_form(request, self._site.reading)
            if not visitor.has_sent(form.pop(TOKEN, "")):
                values = {
                    "title": "This form is out of date",
                    "text": "Nothing was changed. Go back, reload the page, and send the form again.",
                }
                return await self._page(visit, View("problem.html", values, FORBIDDEN))
            visit.form = form
        result = await handler(visit)
        if isinstance(result, View):
            return await self._page(visit, result)
        answer = RedirectResponse(result.address, _SEE_OTHER)
        if result.visitor is not None:
            self._site.sessions.set_cookie(answer, result.visitor)
        if result.forget:
            self._site.sessions.delete_cookie(answer)
        return answer

    def _visit(self, request: Request, visitor: Visitor) -> Visit:
        calls = Calls(self._site.dispatcher, visitor, request.headers.get(REQUEST_ID))
        return Visit(self._site, request, visitor, calls)

    async def _page(self, visit: Visit, view: View, headers: dict[str, str] | None = None) -> Response:
        templates = await self._site.templates()
        # A page may be long: other calls do not wait for it.
        text = await in_worker(templates.render, visit, view)
        # Also the answer to a form, which may have a secret that is shown once.
        added = {**POLICIES, "cache-control": "no-store"}
        return HTMLResponse(text, view.status, {**(headers or {}), **added})

    async def _failure(self, request: Request, visitor: Visitor, error: ApiError) -> Response:
        values = {"title": "That did not work", "text": error.message, "error": error}
        view = View("problem.html", values, code_of(error).http_status)
        headers = {name: value for name, value in error_headers(error).items() if name != "www-authenticate"}
        return await self._page(self._visit(request, visitor), view, headers)
