"""ClockService of `canuse.testing.v1`, served only with a manual clock."""

from canuse.testing.v1 import clock_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import timestamp
from canuse_server.api.errors import ApiError, invalid
from canuse_server.api.validation import Violations
from canuse_server.store.repositories.manual_clock import ClockRangeError, ManualClock


class ClockServicer:
    """ClockService."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    async def get_time(self, request: pb.GetTimeRequest, context: CallContext) -> pb.GetTimeResponse:
        """Get the time."""
        return pb.GetTimeResponse(time=timestamp(self._clock.time_ms()))

    async def set_time(self, request: pb.SetTimeRequest, context: CallContext) -> pb.SetTimeResponse:
        """Move the clock to a time."""
        violations = Violations()
        time_ms = violations.time_ms("time", request.time)
        violations.check()
        try:
            return pb.SetTimeResponse(time=timestamp(await self._clock.set(time_ms)))
        except ClockRangeError:
            raise self._out_of_range("time") from None

    async def advance_time(self, request: pb.AdvanceTimeRequest, context: CallContext) -> pb.AdvanceTimeResponse:
        """Move the clock forward."""
        duration_ms = request.duration.seconds * 1000 + request.duration.nanos // 1_000_000
        if duration_ms < 0:
            raise invalid([("duration", f"must not be negative; {duration_ms} ms was sent")])
        try:
            return pb.AdvanceTimeResponse(time=timestamp(await self._clock.advance(duration_ms)))
        except ClockRangeError:
            raise self._out_of_range("duration") from None

    def _out_of_range(self, field: str) -> ApiError:
        now = timestamp(self._clock.time_ms()).ToJsonString()
        return invalid([(field, f"must move the clock forward, to 9000-01-01 at most; the clock shows {now}")])
