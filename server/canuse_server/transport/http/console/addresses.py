"""Addresses of pages."""

from typing import Final
from urllib.parse import urlencode

HOME: Final = "/console"


def address(path: str, **query: object) -> str:
    """Return the address of a page below /console; parts of the query that are empty are left out."""
    given = {name.rstrip("_"): str(value) for name, value in query.items() if value not in ("", None, False)}
    return f"{HOME}{path}?{urlencode(given)}" if given else f"{HOME}{path}"


def is_own(target: str) -> bool:
    """Whether a text is the address of a page of the console, and of no other site."""
    return target.isascii() and target.isprintable() and (target == HOME or target.startswith((f"{HOME}/", f"{HOME}?")))
