"""Lets the page move the manual clock of canuse, so that nobody has to wait for a reset.

A real service has no such thing.
"""

from datetime import UTC, datetime

import grpc
from fastapi import APIRouter
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import AwareDatetime, BaseModel

from canuse.testing import v1 as testing


class Time(BaseModel):
    """A time of the clock."""

    time: AwareDatetime


def clock_routes(channel: grpc.aio.Channel, api_key: str) -> APIRouter:
    """Return the routes that read and move the clock of a server; the key needs the scope `keys:admin`."""
    routes = APIRouter()
    clock = testing.ClockServiceStub(channel)
    metadata = (("authorization", f"Bearer {api_key}"),)

    @routes.get("/api/clock")
    async def read() -> Time:
        """Return the time."""
        return _time(await clock.GetTime(testing.GetTimeRequest(), metadata=metadata))

    @routes.post("/api/clock")
    async def move(to: Time) -> Time:
        """Move the clock forwards, and return the time."""
        timestamp = Timestamp()
        timestamp.FromDatetime(to.time)
        return _time(await clock.SetTime(testing.SetTimeRequest(time=timestamp), metadata=metadata))

    return routes


def _time(response: testing.GetTimeResponse | testing.SetTimeResponse) -> Time:
    time: datetime = response.time.ToDatetime(UTC)
    return Time(time=time)
