"""The ASGI application of the HTTP port: its doors, behind the guards."""

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.types import ASGIApp

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher
from canuse_server.transport.http import connect
from canuse_server.transport.http.guards import Guards, not_found


def application(
    dispatcher: Dispatcher, reading: AdmissionLimit, *, origins: Sequence[str], is_open: Callable[[], bool]
) -> ASGIApp:
    """Return the application. `reading` bounds the bodies that are read at a time; for the rest see Guards."""
    app = Starlette(routes=[*connect.routes(dispatcher, reading)])
    app.router.redirect_slashes = False
    app.router.default = not_found
    return Guards(app, origins, is_open)
