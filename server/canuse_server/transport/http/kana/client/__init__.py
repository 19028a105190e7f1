"""Kana's Client API, for web pages: what one user has, with a token of the user or a key and the user's id."""

from importlib.resources import files

from ariadne import ScalarType, make_executable_schema

from canuse_server.transport.http.kana.client import current_user
from canuse_server.transport.http.kana.execution import Api


def api() -> Api:
    """Return the API."""
    sdl = (files(__name__) / "schema.graphql").read_text(encoding="utf-8")
    return Api(make_executable_schema(sdl, *current_user.BOUND, ScalarType("JSON"), convert_names_case=True))
