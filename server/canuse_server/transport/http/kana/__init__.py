"""Kana's APIs: GraphQL for backends and for web pages, and the routes of its command line, for Kana's own clients.

Its schemas are in `admin/schema.graphql` and `client/schema.graphql`. See docs/kana.md.
"""

from collections.abc import Iterator
from typing import Final

from starlette.routing import Route

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher
from canuse_server.transport.http.kana import cli
from canuse_server.transport.http.kana.endpoint import GraphqlEndpoint

_V1: Final = "/canuse.v1."
ADMIN_METHODS: Final = tuple(
    f"{_V1}{name}"
    for name in (
        "CatalogService/GetFeature",
        "EntitlementService/CanUse",
        "EntitlementService/CreateUsageEvent",
        "UserService/GetUser",
        "CatalogService/CreateFeature",
    )
)
"""Methods of which the key of a caller of the Admin API permits at least one."""
CLIENT_METHODS: Final = (f"{_V1}EntitlementService/ListEntitlements",)


def routes(dispatcher: Dispatcher, reading: AdmissionLimit) -> Iterator[Route]:
    """Yield the routes of the door. `reading` bounds the bodies that are read at a time."""
    yield Route("/graphql", GraphqlEndpoint(dispatcher, reading, f"{__name__}.admin", ADMIN_METHODS))
    yield Route("/client/graphql", GraphqlEndpoint(dispatcher, reading, f"{__name__}.client", CLIENT_METHODS))
    yield from cli.routes(dispatcher, reading)
