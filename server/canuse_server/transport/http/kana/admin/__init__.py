"""Kana's Admin API, for backends."""

from importlib.resources import files

from ariadne import ScalarType, make_executable_schema

from canuse_server.transport.http.kana.admin import catalog, subscriptions, usage, users
from canuse_server.transport.http.kana.execution import Api


def api() -> Api:
    """Return the API."""
    sdl = (files(__name__) / "schema.graphql").read_text(encoding="utf-8")
    bound = [
        *catalog.BOUND,
        *usage.BOUND,
        *users.BOUND,
        *subscriptions.BOUND,
        ScalarType("JSON"),
        ScalarType("DateTime"),
    ]
    return Api(make_executable_schema(sdl, *bound, convert_names_case=True))
