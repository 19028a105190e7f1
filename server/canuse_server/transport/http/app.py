"""The ASGI application of the HTTP port: its doors, behind the guards."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher
from canuse_server.transport.http import connect, kana, ofrep, reference
from canuse_server.transport.http.guards import Guards, not_found
from canuse_server.transport.http.pages import Page
from canuse_server.transport.http.request_ids import RequestIds

Door = Callable[[Dispatcher, AdmissionLimit], Iterable[BaseRoute]]
"""Returns the routes of a door, whose requests become calls of the dispatcher. The limit is that of the bodies that are
read at a time."""
DOORS: Final[Sequence[Door]] = (connect.routes, ofrep.routes, reference.routes, kana.routes)
"""All of them: a door is deleted with its package and its place here."""


def application(
    dispatcher: Dispatcher, reading: AdmissionLimit, *, origins: Sequence[str], is_open: Callable[[], bool]
) -> ASGIApp:
    """Return the application. `reading` bounds the bodies that are read at a time; for the rest see Guards."""
    routes = [route for door in DOORS for route in door(dispatcher, reading)]
    # Without Starlette's own middleware, which answers internal errors before the guards can.
    app = Router(routes, redirect_slashes=False, default=not_found)
    guarded = Guards(app, origins, is_open, [route.path for route in routes if isinstance(route, Page)])
    return RequestIds(guarded) if dispatcher.request_ids else guarded
