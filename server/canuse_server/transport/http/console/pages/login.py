"""Logging in with an API key, and out."""

from canuse_server.api.errors import ApiError
from canuse_server.transport.http.console.addresses import HOME, address, is_own
from canuse_server.transport.http.console.visit import Redirect, View, Visit
from canuse_server.transport.http.errors import code_of


async def read(visit: Visit) -> View | Redirect:
    """Show the form."""
    return _form(visit.query("to"))


async def write(visit: Visit) -> View | Redirect:
    """Log in."""
    target = visit.form.get("to", "")
    try:
        visitor = await visit.site.sessions.log_in(visit.form.get("api_key", "").strip(), visit.visitor)
    except ApiError as error:
        view = _form(target)
        view.values["problem"], view.status = error.message, code_of(error).http_status
        return view
    return Redirect(target if is_own(target) else HOME, visitor)


async def log_out(visit: Visit) -> Redirect:
    """Log out."""
    await visit.site.sessions.log_out(visit.visitor)
    return Redirect(address("/login"), forget=True)


def _form(target: str) -> View:
    return View("login.html", {"to": target, "problem": ""})
