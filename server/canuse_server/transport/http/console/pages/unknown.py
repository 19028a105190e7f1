"""Addresses that lead nowhere."""

from canuse_server.transport.http.console.visit import View, Visit

NOT_FOUND = 404


async def read(visit: Visit) -> View:
    """Say so."""
    values = {"title": "There is no such page", "text": "The address may be misspelt, or of another version of canuse."}
    return View("problem.html", values, NOT_FOUND)
