"""The first page: health, and what the server decides."""

from canuse_server.transport.http.console.addresses import address
from canuse_server.transport.http.console.visit import Redirect, View, Visit


async def read(visit: Visit) -> View | Redirect:
    """Show it."""
    if visit.query("user"):
        return Redirect(address("/user", id=visit.query("user")))
    assert visit.visitor.caller is not None
    rate = visit.site.rates.rate(visit.visitor.caller.env.environment)
    return View("home.html", {"is_ready": visit.site.host.is_ready(), "rate": rate})
