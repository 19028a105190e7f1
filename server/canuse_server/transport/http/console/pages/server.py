"""The server that answers, and its store."""

import time
from importlib.metadata import version
from typing import Any, Final

from canuse_server.api.errors import ApiError, store_error
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.transport.http.console.visit import View, Visit

METHOD: Final = "ApiKeyService/ListApiKeys"
"""Who may see this page: who may call this method of the API, which has none for it."""


async def read(visit: Visit) -> View:
    """Show them."""
    visit.call.authorize(METHOD)
    assert visit.visitor.caller is not None
    host, env = visit.site.host, visit.visitor.caller.env
    problem = ""
    nodes: list[dict[str, str]] = []
    try:
        nodes = await _nodes(visit)
    except ApiError as error:
        problem = error.message
    values: dict[str, Any] = {
        "version": version("canuse"),
        "is_ready": host.is_ready(),
        "decisions": await host.decisions(),
        "grpc_address": host.grpc_address(),
        "catalog_version": env.cache.version,
        "catalog_age": time.monotonic() - env.cache.refreshed_at,
        "settings": host.settings,
        "store": host.store_name,
        "nodes": nodes,
        "problem": problem,
    }
    return View("server.html", values)


async def _nodes(visit: Visit) -> list[dict[str, str]]:
    """Return what each server of the store says of itself; raise ApiError where one does not answer."""
    store = visit.site.host.store
    try:
        return await store.infos()
    except (StoreUnavailableError, OutcomeUnknownError) as error:
        raise store_error(error) from None
