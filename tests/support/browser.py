"""Pages in a real browser: a web site on the loopback, and Chromium that opens its pages."""

import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from support.tools import require_playwright, tool

if TYPE_CHECKING:
    from playwright.async_api import Browser, Error, Page, Request

CHROMIUM_OPTIONS: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # It looks for nothing on the internet by itself.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
TIMEOUT_MS: Final = 60_000
"""How long a test waits at most for what a page is to do."""


class Site:
    """A web site with the pages that tests put there.

    `origin` and `other_origin` are two origins of the same pages: a server may allow one of them and not the other.
    """

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, bytes]] = {}
        files = self._files

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, content = files.get(urlsplit(self.path).path, ("", b""))
                # A browser asks every site for an icon.
                self.send_response(200 if kind else 204 if self.path == "/favicon.ico" else 404)
                self.send_header("Content-Type", kind or "text/plain")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Log nothing: stderr is for failures."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self.other_origin = f"http://localhost:{self._server.server_port}"

    def start(self) -> "Site":
        """Serve in a thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, name: str, script: Path, body: str = "") -> str:
        """Add a page that runs a bundled module, and return its path."""
        html = f'<!doctype html><html lang="en"><title>{name}</title><body>{body}'
        html += f'<script type="module" src="/{name}.js"></script></body></html>'
        self._files[f"/{name}.js"] = ("text/javascript; charset=utf-8", script.read_bytes())
        self._files[f"/{name}"] = ("text/html; charset=utf-8", html.encode())
        return f"/{name}"


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A web site, shared by all tests: the names of their pages are their own."""
    site = Site().start()
    yield site
    site.stop()


@pytest_asyncio.fixture(scope="session")
async def browser() -> "AsyncIterator[Browser]":
    """Chromium, without a window."""
    program = tool("chromium")
    require_playwright()
    from playwright.async_api import async_playwright  # noqa: PLC0415 - `make test` has no playwright

    async with async_playwright() as playwright:
        # The pages are the tests' own; the sandbox needs rights that containers do not have.
        browser = await playwright.chromium.launch(
            executable_path=program, args=CHROMIUM_OPTIONS, chromium_sandbox=False, timeout=TIMEOUT_MS
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture
async def page(browser: "Browser") -> "AsyncIterator[Page]":
    """A new page in a context of its own.

    The test fails if a script in the page fails and nobody catches it, or if the page requests something from
    elsewhere.
    """
    async with await browser.new_context() as context:
        context.set_default_timeout(TIMEOUT_MS)
        page = await context.new_page()
        failures: list[str] = []

        def note_error(error: "Error") -> None:
            failures.append(error.stack or error.message)

        def note_request(request: "Request") -> None:
            parts = urlsplit(request.url)
            if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in LOOPBACK:
                failures.append(f"requested {request.url}")

        page.on("pageerror", note_error)
        page.on("request", note_request)
        yield page
        assert failures == []
