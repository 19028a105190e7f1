"""Long work in threads pauses while the server is called: each path of a call says so."""

import math
import time

import pytest
from grpc import StatusCode

from canuse import v1
from canuse_server.runtime.thread_pauses import CALLS
from faults.test_call_observer import observed, somebody, status_of
from support.processes import RedisServer


@pytest.mark.parametrize("path", ["EntitlementService/CanUse", "UserService/GetUser"])
async def test_long_work_hears_of_each_call(
    transport: str, redis: RedisServer, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with observed(transport, redis.url) as (_, channel):
        known = await somebody(channel)
        requests = {
            "CanUse": known,
            "GetUser": v1.GetUserRequest(user_id=known.user_id),
        }
        monkeypatch.setattr(CALLS, "last_at", -math.inf)
        began_at = time.monotonic()
        payload = requests[path.partition("/")[2]].SerializeToString()
        assert await status_of(channel, path, payload) is StatusCode.OK
        # The batch lane takes the time since when it has waited for a call as that of its arrival.
        assert began_at - 1 < CALLS.last_at <= time.monotonic()


async def test_long_work_does_not_pause_for_itself(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with observed("grpcio", redis.url) as (_, channel):
        batch = v1.BatchCanUseRequest(requests=[await somebody(channel)]).SerializeToString()
        monkeypatch.setattr(CALLS, "last_at", -math.inf)
        assert await status_of(channel, "EntitlementService/BatchCanUse", batch) is StatusCode.OK
        assert CALLS.last_at == -math.inf
