"""The messages and the stub of `canuse.testing.v1`: the clock of a server that runs with `--clock manual`."""

from canuse.testing.v1.clock_service_pb2 import (
    AdvanceTimeRequest,
    AdvanceTimeResponse,
    GetTimeRequest,
    GetTimeResponse,
    SetTimeRequest,
    SetTimeResponse,
)
from canuse.testing.v1.clock_service_pb2_grpc import ClockServiceStub

__all__ = [
    "AdvanceTimeRequest",
    "AdvanceTimeResponse",
    "ClockServiceStub",
    "GetTimeRequest",
    "GetTimeResponse",
    "SetTimeRequest",
    "SetTimeResponse",
]
