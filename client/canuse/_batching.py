"""What is common to the batching of both clients: which calls go together, and the error of one call of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.rpc.status_pb2 import Status

from canuse import v1
from canuse.errors import DETAILS_KEY

MAX_BATCH: Final = 1000
"""Maximum number of calls in a batch, by the API."""
WINDOW_SECONDS: Final = 0.002
"""How long a call waits for others while earlier ones are in flight, unless one of those ends sooner."""
SPLIT_FROM: Final = 32
"""Number of calls from which they leave in two batches."""

_OF_ALL: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)
"""Failures that say nothing about any one call: each call of the batch has failed like this."""

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class ItemError(grpc.RpcError):
    """The error of one call of a batch, as if it had been made alone."""

    def __init__(self, status: Status) -> None:
        """Take the status of the result."""
        super().__init__(status.message)
        self._status = status

    def code(self) -> grpc.StatusCode:
        """Return the status."""
        return _CODES.get(self._status.code, grpc.StatusCode.UNKNOWN)

    def details(self) -> str:
        """Return the message."""
        return str(self._status.message)

    def trailing_metadata(self) -> Any:
        """Return the details as a server sends them with a single call."""
        return ((DETAILS_KEY, self._status.SerializeToString()),)


@dataclass(frozen=True)
class Batching:
    """How calls of a method are made together."""

    method: str
    """The method for many calls."""
    request: Any
    """Its request."""
    response: Any
    """The response to one call."""
    explains: bool = False
    """Whether a request may ask for an explanation. Those are large, and are not made together."""

    def joined(self, requests: Sequence[Any], timeouts: Sequence[float | None]) -> tuple[Any, float | None]:
        """Return the request for many calls and its timeout, the longest of theirs."""
        known = [each for each in timeouts if each is not None]
        return self.request(requests=requests), max(known) if len(known) == len(timeouts) else None

    def answer_of(self, result: Any) -> Any:
        """Return the response to one call of a batch: a copy, since a part of a message keeps all of it in memory."""
        response = self.response()
        response.CopyFrom(result.response)
        return response


METHODS: Final = {
    "CanUse": Batching("BatchCanUse", v1.BatchCanUseRequest, v1.CanUseResponse, explains=True),
    "CreateUsageEvent": Batching(
        "BatchCreateUsageEvents", v1.BatchCreateUsageEventsRequest, v1.CreateUsageEventResponse
    ),
    "UseFeature": Batching("BatchUseFeature", v1.BatchUseFeatureRequest, v1.UseFeatureResponse),
}
"""The methods that are batched."""


def share_of(waiting: int, in_flight: int, batches: int) -> int:
    """Return how many of the waiting calls leave now, in one batch, beside those in flight.

    Many calls are to be in flight in two batches of a size, so that the client works on the answers to one while the
    server works on the other: in batches of unequal sizes, each would wait for the other for most of the time.
    """
    total = waiting + in_flight
    if total < SPLIT_FROM:
        return waiting
    return min(waiting, -(-total // 2)) if batches < 2 else 0


def concerns_one(error: grpc.RpcError) -> bool:
    """Whether one call of a batch may have made all of it fail, so that each is to be made alone."""
    call: Any = error
    return call.code() not in _OF_ALL
