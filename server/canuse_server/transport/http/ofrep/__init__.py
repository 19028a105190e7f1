"""OFREP 0.3, the OpenFeature Remote Evaluation Protocol: features as boolean flags, for the stock OpenFeature SDKs.

A flag is a feature, `targetingKey` the user, and the value whether the user may use one unit now. Nothing is written:
also with a default package an unknown user is an error. See docs/openfeature.md.
"""

from collections.abc import Iterator
from typing import Final

from starlette.routing import Route

from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.dispatch import Dispatcher
from canuse_server.transport.http.ofrep.evaluations import AllFlags, OneFlag

PATH: Final = "/ofrep/v1/evaluate/flags"


def routes(dispatcher: Dispatcher, reading: AdmissionLimit) -> Iterator[Route]:
    """Yield the routes of the door. `reading` bounds the bodies that are read at a time."""
    yield Route(PATH, AllFlags(dispatcher, reading))
    yield Route(f"{PATH}/{{key:path}}", OneFlag(dispatcher, reading))
