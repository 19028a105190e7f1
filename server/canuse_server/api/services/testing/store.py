"""StoreService of `canuse.testing.v1`, served only with a manual clock on the embedded Valkey."""

import time
from collections.abc import Awaitable, Callable

from canuse.testing.v1 import store_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import timestamp
from canuse_server.api.validation import Violations
from canuse_server.store.redis.data_guard import DataGuard


class StoreServicer:
    """StoreService. `reset` deletes all data and sets the clock to a time in milliseconds."""

    def __init__(self, guard: DataGuard, reset: Callable[[int], Awaitable[None]]) -> None:
        self._guard = guard
        self._reset = reset

    async def reset_store(self, request: pb.ResetStoreRequest, context: CallContext) -> pb.ResetStoreResponse:
        """Delete all data and set the clock."""
        time_ms = time.time_ns() // 1_000_000
        if request.HasField("time"):
            violations = Violations()
            time_ms = violations.time_ms("time", request.time)
            violations.check()
        self._guard.block(False)
        await self._reset(time_ms)
        return pb.ResetStoreResponse(time=timestamp(time_ms))

    async def set_store_availability(
        self, request: pb.SetStoreAvailabilityRequest, context: CallContext
    ) -> pb.SetStoreAvailabilityResponse:
        """Make the store unavailable, or available again."""
        self._guard.block(not request.available)
        return pb.SetStoreAvailabilityResponse()
