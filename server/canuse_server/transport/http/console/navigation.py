"""The pages that a visitor is offered: those whose calls the visitor's key permits."""

from typing import Final, NamedTuple

from canuse_server.transport.http.console.addresses import HOME, address
from canuse_server.transport.http.console.visit import Visit


class Entry(NamedTuple):
    """A page in the navigation."""

    title: str
    address: str
    is_here: bool


_PAGES: Final = (
    ("Home", "", "", ()),
    ("Users", "/users", "UserService/ListUsers", ("/user",)),
    ("Features", "/features", "CatalogService/ListFeatures", ("/feature",)),
    ("Packages", "/packages", "CatalogService/ListPackages", ("/package",)),
    ("API keys", "/keys", "ApiKeyService/ListApiKeys", ("/keys",)),
    ("Audit log", "/audit", "AuditService/ListAuditEntries", ()),
    ("Server", "/server", "ApiKeyService/ListApiKeys", ()),
)
"""Title, path, the method that it needs, and what else belongs to it."""


def navigation(visit: Visit) -> list[Entry]:
    """Return the entries for a visitor; none for one who has to log in."""
    if visit.visitor.caller is None:
        return []
    here = visit.request.url.path.removeprefix(HOME)
    return [
        Entry(title, address(path), here == path or any(here == at or here.startswith(f"{at}/") for at in others))
        for title, path, method, others in _PAGES
        if not method or visit.may(method)
    ]
