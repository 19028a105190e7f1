"""Kana's APIs: GraphQL for backends and for web pages, and the routes of its command line, for Kana's own clients.

Its schemas are in `admin/schema.graphql` and `client/schema.graphql`. See docs/kana.md.
"""

from collections.abc import Iterator
from typing import Final

from starlette.routing import Route

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher
from canuse_server.runtime.fairness import YieldBudget
from canuse_server.transport.http.kana import cli
from canuse_server.transport.http.kana.endpoint import GraphqlEndpoint

_V1: Final = "/canuse.v1."
ADMIN_METHODS: Final = tuple(
    f"{_V1}{name}"
    for name in (
        "CatalogService/GetFeature",
        "CatalogService/CreateFeature",
        "EntitlementService/CreateUsageEvent",
        "UsageService/ListUsageEvents",
        "UserService/GetUser",
    )
)
"""Methods of which a caller of the Admin API may call at least one: one for each scope, and none that user tokens and
publishable keys permit."""
CLIENT_METHODS: Final = (f"{_V1}EntitlementService/ListEntitlements",)


def routes(dispatcher: Dispatcher, reading: AdmissionLimit) -> Iterator[Route]:
    """Yield the routes of the door. `reading` bounds the bodies that are read at a time."""
    # All requests yield by one budget, as pages do.
    pace = YieldBudget()
    yield Route("/graphql", GraphqlEndpoint(dispatcher, reading, pace, f"{__name__}.admin", ADMIN_METHODS))
    yield Route("/client/graphql", GraphqlEndpoint(dispatcher, reading, pace, f"{__name__}.client", CLIENT_METHODS))
    yield from cli.routes(dispatcher, reading, pace)
