"""A minimal server for comparison: `grpc.aio`, and one `EVALSHA` of redis-py per call. It checks and counts exactly,
and has no periods, no ledger and no validation.

    python bench/plain.py HOST:PORT REDIS_URL
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final, cast

import grpc
import grpc.aio
from google.protobuf.message import Message
from redis.asyncio import Redis

from canuse import v1

SERVICE: Final = "canuse.v1.EntitlementService"
KEY: Final = "plain:{user_id}:{feature_id}"
LIMIT: Final = 10**12
USE: Final = """
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
local delta, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
if used + delta > limit then return {0, used} end
if ARGV[3] == '1' then used = redis.call('INCRBY', KEYS[1], delta) end
return {1, used}
"""


class Methods:
    """The three methods, which share one script."""

    def __init__(self, redis: Redis, sha: str) -> None:
        self._redis = redis
        self._sha = sha

    async def can_use(self, request: v1.CanUseRequest, _context: object) -> v1.CanUseResponse:
        """Check without counting."""
        access, reason, consumption = await self._run(request.user_id, request.feature_id, 1, "0")
        return v1.CanUseResponse(access=access, reason=reason, consumption=consumption)

    async def use_feature(self, request: v1.UseFeatureRequest, _context: object) -> v1.UseFeatureResponse:
        """Check and count."""
        access, reason, consumption = await self._run(request.user_id, request.feature_id, 1, "1")
        return v1.UseFeatureResponse(access=access, reason=reason, consumption=consumption)

    async def create_usage_event(
        self, request: v1.CreateUsageEventRequest, _context: object
    ) -> v1.CreateUsageEventResponse:
        """Count."""
        recorded, reason, consumption = await self._run(request.user_id, request.feature_id, 1, "1")
        return v1.CreateUsageEventResponse(recorded=recorded, reason=reason, consumption=consumption)

    async def _run(
        self, user_id: str, feature_id: str, delta: int, record: str
    ) -> tuple[bool, v1.Reason.ValueType, v1.Consumption]:
        key = KEY.format(user_id=user_id, feature_id=feature_id)
        reply = await cast(
            "Awaitable[list[int]]", self._redis.evalsha(self._sha, 1, key, str(delta), str(LIMIT), record)
        )
        allowed, used = reply
        consumption = v1.Consumption(used=used, budget=LIMIT, remaining=LIMIT - used)
        return bool(allowed), v1.REASON_WITHIN_BUDGET if allowed else v1.REASON_BUDGET_EXCEEDED, consumption


def _handler(
    method: Callable[..., Awaitable[Message]], request: type[Message]
) -> "grpc.RpcMethodHandler[Message, Message]":
    return grpc.unary_unary_rpc_method_handler(
        method, request_deserializer=request.FromString, response_serializer=lambda answer: answer.SerializeToString()
    )


async def serve(address: str, redis_url: str) -> None:
    """Serve until SIGTERM."""
    redis = Redis.from_url(redis_url, max_connections=1000)
    methods = Methods(redis, await redis.script_load(USE))
    handlers = {
        "CanUse": _handler(methods.can_use, v1.CanUseRequest),
        "UseFeature": _handler(methods.use_feature, v1.UseFeatureRequest),
        "CreateUsageEvent": _handler(methods.create_usage_event, v1.CreateUsageEventRequest),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(address)
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(1)
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
