"""The routes of Kana's command line: the catalogue as its file."""

from collections.abc import Iterator

from starlette.routing import Route

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher
from canuse_server.runtime.fairness import YieldBudget
from canuse_server.transport.http.kana.cli.endpoint import CliEndpoint


def routes(dispatcher: Dispatcher, reading: AdmissionLimit, pace: YieldBudget) -> Iterator[Route]:
    """Yield the routes."""
    for name in ("pull", "validate", "publish"):
        yield Route(f"/cli/{name}", CliEndpoint(dispatcher, reading, pace, name))
