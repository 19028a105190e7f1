"""The ASGI application of the HTTP port: its doors, behind the guards."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher
from canuse_server.transport.http import connect, console, kana, ofrep, reference
from canuse_server.transport.http.guards import Guards, not_found
from canuse_server.transport.http.host import Host
from canuse_server.transport.http.pages import Page
from canuse_server.transport.http.request_ids import RequestIds

Door = Callable[[Dispatcher, AdmissionLimit], Iterable[BaseRoute]]
"""Returns the routes of a door, whose requests become calls of the dispatcher. The limit is that of the bodies that are
read at a time."""
HostDoor = Callable[[Dispatcher, AdmissionLimit, Host], Iterable[BaseRoute]]
"""A door that needs more of the server than its calls."""
DOORS: Final[Sequence[Door]] = (connect.routes, ofrep.routes, reference.routes, kana.routes)
"""All of them, with those below: a door is deleted with its package and its place here."""
HOST_DOORS: Final[Sequence[HostDoor]] = (console.routes,)


def application(
    dispatcher: Dispatcher,
    reading: AdmissionLimit,
    *,
    origins: Sequence[str],
    is_open: Callable[[], bool],
    host: Host | None = None,
) -> ASGIApp:
    """Return the application. `reading` bounds the bodies that are read at a time; for the rest see Guards.

    Without a `host` there are only the doors that need none.
    """
    routes = [route for door in DOORS for route in door(dispatcher, reading)]
    if host is not None:
        routes += [route for door in HOST_DOORS for route in door(dispatcher, reading, host)]
    # Without Starlette's own middleware, which answers internal errors before the guards can.
    app = Router(routes, redirect_slashes=False, default=not_found)
    guarded = Guards(app, origins, is_open, [route.path for route in routes if isinstance(route, Page)])
    return RequestIds(guarded) if dispatcher.request_ids else guarded
