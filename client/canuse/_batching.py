"""What is common to the batching of both clients: which calls go together, and the error of one call of a batch."""

from typing import Any, Final

import grpc
from google.rpc.status_pb2 import Status

from canuse import v1
from canuse.errors import DETAILS_KEY

MAX_BATCH: Final = 1000
"""Maximum number of calls in a batch, by the API."""
WINDOW_SECONDS: Final = 0.002
"""How long a call waits for others while earlier ones are in flight, unless one of those ends sooner."""
SPLIT_FROM: Final = 64
"""Number of calls from which they leave in two batches."""
METHODS: Final = {
    "CanUse": ("BatchCanUse", v1.BatchCanUseRequest),
    "CreateUsageEvent": ("BatchCreateUsageEvents", v1.BatchCreateUsageEventsRequest),
    "UseFeature": ("BatchUseFeature", v1.BatchUseFeatureRequest),
}
"""The methods that are batched, with the method and the request for many calls."""

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


def goes_alone(request: Any, options: Any) -> bool:
    """Whether a call is made by itself: explanations are large, and a retry may have to wait for a connection."""
    return bool(options) or bool(getattr(request, "explain", False))


def concerns_one(error: grpc.RpcError) -> bool:
    """Whether one call of a batch may have made all of it fail, so that each is to be made alone."""
    call: Any = error
    return call.code() not in _OF_ALL


def answer_of(result: Any) -> Any:
    """Return the response or the error of one call of a batch."""
    if result.HasField("status"):
        return ItemError(result.status)
    # A part of a message keeps all of it in memory.
    response = type(result.response)()
    response.CopyFrom(result.response)
    return response
