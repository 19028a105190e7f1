"""A minimal lane on the native front, for comparison: it parses `ShouldRateLimit`, counts by a script of four lines,
and answers. It has no validation, periods, ledger, idempotency, API keys, limits or errors.

    python bench/bare_lane.py HOST:PORT REDIS_PORT
"""

import socket
import sys
import threading
from typing import Any, Final

import hiredis
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from canuse_server.envoy import rate_limit_service_pb2 as pb
from canuse_server.store.redis.replies import pack

METHOD: Final = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
KEY: Final = "canuse:live:{b0001}:u:"
OK: Final = pb.RateLimitResponse.OK
OVER_LIMIT: Final = pb.RateLimitResponse.OVER_LIMIT
COUNTER: Final = "c:"
LANES: Final = 2
BATCH: Final = 64
USE: Final = """
local fields = redis.call('HMGET', KEYS[1], 'e:' .. ARGV[1], 'c:' .. ARGV[1])
local budget, used, delta = tonumber(fields[1]) or 1000000000, tonumber(fields[2]) or 0, tonumber(ARGV[2])
if used + delta > budget then return {0, used, budget} end
redis.call('HSET', KEYS[1], 'c:' .. ARGV[1], string.format('%.0f', used + delta))
return {1, used + delta, budget}
"""


class Connection:
    """A blocking connection to the store: sends many commands in one write and reads the replies in order."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def send(self, commands: list[tuple[str, ...]]) -> None:
        """Send commands."""
        self._socket.sendall(b"".join(map(pack, commands)))

    def reply(self) -> Any:
        """Return the next reply."""
        while (value := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(1 << 18))
        return value


def lane(front: NativeGrpcFront, redis_port: int) -> None:
    """Answer batches of calls, each with one write to the store."""
    store = Connection(redis_port)
    store.send([("SCRIPT", "LOAD", USE)])
    sha = store.reply().decode()
    while (events := front.recv_batch(BATCH)) is not None:
        calls: list[int] = []
        commands: list[tuple[str, ...]] = []
        for kind, call_id, _method, payload, _key in events:
            if kind != EVENT_CALL:
                continue
            request = pb.RateLimitRequest.FromString(payload or b"")
            entry = request.descriptors[0].entries[0]
            calls.append(call_id)
            commands.append(("EVALSHA", sha, "1", KEY + entry.value, entry.key, str(request.hits_addend or 1)))
        if not calls:
            continue
        store.send(commands)
        for call_id in calls:
            allowed, used, budget = store.reply()
            response = pb.RateLimitResponse(overall_code=OK if allowed else OVER_LIMIT)
            status = response.statuses.add(code=response.overall_code, limit_remaining=budget - used)
            status.current_limit.requests_per_unit = budget
            front.respond(call_id, response.SerializeToString())


def serve(address: str, redis_port: str) -> None:
    """Serve until the process is killed."""
    front = NativeGrpcFront(address, [(METHOD, False)])
    front.start()
    lanes = [threading.Thread(target=lane, args=(front, int(redis_port))) for _ in range(LANES)]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join()


if __name__ == "__main__":
    serve(*sys.argv[1:])
