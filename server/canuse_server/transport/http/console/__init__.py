"""The console: pages for people to find a user, see what the user may do and why, and change it. See docs/console.md.

Pages are rendered here, without scripts that they would need to be read. Each calls the API as the holder of the key
that its visitor has logged in with.
"""

from collections.abc import Iterator
from typing import Final

from starlette.routing import Route

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher
from canuse_server.transport.http.console import actions, assets
from canuse_server.transport.http.console.addresses import HOME
from canuse_server.transport.http.console.endpoint import Endpoint, Handlers
from canuse_server.transport.http.console.pages import (
    audit,
    clock,
    events,
    features,
    home,
    keys,
    login,
    packages,
    server,
    unknown,
    usage,
    user,
    users,
    why,
)
from canuse_server.transport.http.console.site import Site
from canuse_server.transport.http.host import Host
from canuse_server.transport.http.pages import Page

PAGES: Final = {
    "": Handlers(read=home.read),
    "/login": Handlers(read=login.read, write=login.write, for_all=True),
    "/logout": Handlers(write=login.log_out, for_all=True),
    "/clock": Handlers(write=clock.write),
    "/users": Handlers(read=users.read),
    "/user": Handlers(read=user.read),
    "/user/usage": Handlers(read=usage.read),
    "/user/events": Handlers(read=events.read),
    "/user/why": Handlers(read=why.read),
    "/features": Handlers(read=features.read_all),
    "/feature": Handlers(read=features.read_one),
    "/packages": Handlers(read=packages.read_all),
    "/package": Handlers(read=packages.read_one),
    "/keys": Handlers(read=keys.read),
    "/audit": Handlers(read=audit.read),
    "/server": Handlers(read=server.read),
    **actions.PAGES,
}
"""What answers each path below /console. Ids are in the query: browsers shorten a path that contains `..`."""


def routes(dispatcher: Dispatcher, reading: AdmissionLimit, host: Host) -> Iterator[Route]:
    """Yield the routes of the door. `reading` bounds the forms that are read at a time."""
    site = Site(dispatcher, reading, host)
    for path, handlers in PAGES.items():
        yield Page(HOME + path, Endpoint(site, handlers))
    yield from assets.routes(f"{HOME}/assets")
    yield Page(f"{HOME}/{{path:path}}", Endpoint(site, Handlers(read=unknown.read)))
