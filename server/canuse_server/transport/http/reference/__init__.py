"""The reference of the API: `/openapi.json`, generated from protos/, and `/docs`, a page to read it and try calls."""

import json
from collections.abc import Collection, Iterator
from importlib.resources import files
from typing import Final

from starlette.routing import Route

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher
from canuse_server.transport.http.pages import Page, StaticContent

DOCUMENT: Final = "/openapi.json"
PAGE: Final = "/docs"
ASSETS: Final = {
    "docs.css": "text/css",
    "docs.js": "text/javascript",
    "fields.js": "text/javascript",
    "calls.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""The page loads its own files and calls its own server, and its scripts write no HTML."""


def routes(dispatcher: Dispatcher, _: AdmissionLimit) -> Iterator[Route]:
    """Yield the routes of the door."""
    yield Route(DOCUMENT, StaticContent(_document(dispatcher.paths), "application/json"))
    policy = {"content-security-policy": CONTENT_SECURITY_POLICY}
    yield Page(PAGE, StaticContent(_read("docs.html"), "text/html", policy))
    for name, media_type in ASSETS.items():
        yield Route(f"{PAGE}/{name}", StaticContent(_read(name), media_type))


def _document(served: Collection[str]) -> str:
    """Return the document with the methods that this server has: one on the system clock has none to set the clock."""
    document = json.loads(_read("openapi.json"))
    document["paths"] = {path: item for path, item in document["paths"].items() if path in served}
    used = {tag for item in document["paths"].values() for operation in item.values() for tag in operation["tags"]}
    document["tags"] = [tag for tag in document["tags"] if tag["name"] in used]
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _read(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
