"""The files that pages load. They are read once; their addresses change with their content."""

from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files
from typing import Final

from starlette.routing import Route

from canuse_server.transport.http.pages import StaticContent

_TYPES: Final = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "actions.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


def _read(name: str) -> bytes:
    return (files(__package__) / "assets" / name).read_bytes()


def routes(below: str) -> Iterator[Route]:
    """Yield their routes."""
    for name, media_type in _TYPES.items():
        yield Route(f"{below}/{name}", StaticContent(_read(name), media_type))


def versioned(below: str) -> dict[str, str]:
    """Return their addresses by name."""
    return {name: f"{below}/{name}?v={sha256(_read(name)).hexdigest()[:12]}" for name in _TYPES}
