"""The first page: health, and what the server decides."""

from canuse_server.transport.http.console.addresses import address
from canuse_server.transport.http.console.figures import rate, whose
from canuse_server.transport.http.console.visit import Redirect, View, Visit


async def read(visit: Visit) -> View | Redirect:
    """Show it."""
    if visit.query("user"):
        return Redirect(address("/user", id=visit.query("user")))
    assert visit.visitor.caller is not None
    decisions = await visit.site.host.decisions()
    values = {
        "is_ready": visit.site.host.is_ready(),
        "rate": rate(decisions, visit.visitor.caller.env.environment),
        "whose": whose(decisions),
        "since_seconds": decisions.since_seconds,
    }
    return View("home.html", values)
