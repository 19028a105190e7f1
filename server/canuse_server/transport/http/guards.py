"""What every request has to pass before a door sees it, and what every answer gets.

A web page can send requests to any address that its user's machine reaches, also to a server on the loopback that
demands no keys. Browsers say from which page a request comes (`Origin`), and under which name they reached the server
(`Host`), which a page whose name leads to the loopback cannot change either.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

import structlog
from grpc import StatusCode
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from canuse_server.api.errors import internal
from canuse_server.transport.http.errors import error_response, refusal

log = structlog.get_logger(__name__)

LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""The names under which a server that demands no keys can be reached."""
OTHER_SITES: Final = frozenset({"cross-site", "same-site"})
"""What browsers say in `Sec-Fetch-Site` of requests from other sites, also of those without an `Origin`: images, links.
"""
SECURITY_HEADERS: Final = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
)
"""Those of every answer; a door may set its own."""
CORS_METHODS: Final = "GET, POST"
CORS_HEADERS: Final = ", ".join(
    (
        "Authorization",
        "Canuse-Durability",
        "Connect-Protocol-Version",
        "Connect-Timeout-Ms",
        "Content-Type",
        "If-None-Match",
        "Traceparent",
        "Tracestate",
        "X-API-Version",
        "X-Request-ID",
        "X-User-Agent",
        "X-User-ID",
    )
)
CORS_EXPOSED: Final = "ETag, Retry-After, X-Request-ID"
CORS_MAX_AGE_SECONDS: Final = 7200
"""How long a browser may cache the answer to a preflight request, in seconds; the maximum of Chromium."""


class Guards:
    """An ASGI application around another one, which sees only requests that may be answered."""

    def __init__(
        self, app: ASGIApp, origins: Sequence[str], is_open: Callable[[], bool], pages: Collection[str] = ()
    ) -> None:
        """`origins`: the web pages that may call; `is_open`: whether calls need no key; `pages`: the paths that links
        on other sites may lead to.
        """
        self._app = app
        self._pages = frozenset(pages)
        self._origins = frozenset(origins)
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = Headers(scope=scope)
        origins = headers.getlist("origin")
        origin = origins[0] if len(origins) == 1 else None
        answered = False

        async def send_guarded(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                self._complete(MutableHeaders(raw=message["headers"]), scope, origin)
            await send(message)

        try:
            answer = self._refusal(scope, headers) or self._preflight(scope, headers) or self._app
            await answer(scope, receive, send_guarded)
        except ClientDisconnect:
            pass
        except Exception as error:
            log.error("a request over HTTP failed with an internal error", path=scope["path"], exc_info=error)
            if answered:
                raise  # The connection is closed: half an answer must not look like a whole one.
            await error_response(internal())(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Return the answer to a request that may not be answered otherwise."""
        for name, value in scope["headers"]:
            if not (name.isascii() and value.isascii()):
                text = f"the header {name.decode('ascii', 'replace')!r} must be ASCII"
                return refusal(StatusCode.INVALID_ARGUMENT, text, 400)
        if "transfer-encoding" in headers and ("content-length" in headers or scope["http_version"] != "1.1"):
            # Proxies in front may read it as another request than this server does.
            text = "a request has either the header Content-Length or, in HTTP/1.1, Transfer-Encoding"
            return refusal(StatusCode.INVALID_ARGUMENT, text, 400, {"connection": "close"})
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if self._is_open() and not all(map(is_local_name, hosts or [""])):
            accepted = ", ".join(sorted(LOCAL_HOSTS))
            text = f"without API keys the header Host must be one of {accepted}; see docs/security.md"
            return refusal(StatusCode.PERMISSION_DENIED, text, 403)
        if not origins and headers.get("sec-fetch-site") in OTHER_SITES and not self._is_link(scope, headers):
            text = "web pages of other sites may not call without saying which: the header Origin is missing"
            return refusal(StatusCode.PERMISSION_DENIED, text, 403)
        own = f"{scope['scheme']}://{hosts[0].lower()}" if hosts else None
        if any(origin != own and origin not in self._origins for origin in origins):
            text = "web pages of this origin may not call: the setting http_cors_origins does not name it"
            return refusal(StatusCode.PERMISSION_DENIED, text, 403)
        return None

    def _is_link(self, scope: Scope, headers: Headers) -> bool:
        """Whether a person followed a link to a page, which is then all that the browser shows."""
        opens = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
        return opens and scope["method"] == "GET" and scope["path"] in self._pages

    def _preflight(self, scope: Scope, headers: Headers) -> Response | None:
        """Return the answer to a browser that asks whether a page may make a request."""
        if scope["method"] != "OPTIONS" or "access-control-request-method" not in headers:
            return None
        allowed = {
            "access-control-allow-methods": CORS_METHODS,
            "access-control-allow-headers": CORS_HEADERS,
            "access-control-max-age": str(CORS_MAX_AGE_SECONDS),
        }
        return Response(status_code=204, headers=allowed)

    def _complete(self, headers: MutableHeaders, scope: Scope, origin: str | None) -> None:
        """Add to an answer what every answer has."""
        for name, value in SECURITY_HEADERS:
            headers.setdefault(name, value)
        if scope["method"] == "GET":
            headers["cache-control"] = "no-store"
        if self._origins:
            headers.add_vary_header("Origin")
        if origin in self._origins:
            headers["access-control-allow-origin"] = origin
            headers["access-control-expose-headers"] = CORS_EXPOSED


def is_local_name(host: str) -> bool:
    """Whether a header `Host` has a name of the loopback, whatever the port."""
    name, colon, port = host.lower().rpartition(":")
    return (name if colon and port.isdecimal() else host.lower()) in LOCAL_HOSTS


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request whose path leads nowhere."""
    text = f"there is nothing at {scope['path']}; /docs describes the API"
    answer: JSONResponse = refusal(StatusCode.UNIMPLEMENTED, text, 404)
    await answer(scope, receive, send)
