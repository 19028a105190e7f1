"""A client may ping every five seconds, with calls and without, to notice a connection that died silently.

gRPC's own bounds are five minutes, and two hours without a call: a client that pinged every 10 seconds was disconnected
after 30, "too many pings".
"""

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.load import MAX_WAIT_SECONDS, OWN_CONNECTION, running
from support.processes import Canuse
from support.relay import Relay

PINGS = 6
"""gRPC closes a connection at the third ping that comes too soon after the one before."""
PING_BYTES = 17
PINGING = (
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    *OWN_CONNECTION,
)


@pytest.mark.parametrize("transport", ["native", "grpcio"])
async def test_a_client_that_pings_every_five_seconds_keeps_its_connection(transport: str, tmp_path: Path) -> None:
    canuse = Canuse(tmp_path, "--transport", transport)
    with running(canuse):
        port = int(canuse.address.rpartition(":")[2])
        async with Relay.to(port) as idle, Relay.to(port) as watching:
            await asyncio.gather(pings(idle, watch=False), pings(watching, watch=True))


async def pings(relay: Relay, *, watch: bool) -> None:
    """Have a client ping several times; its connection must stay open, and so must the call on it."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{relay.port}", PINGING) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        await health.Check(health_pb2.HealthCheckRequest(), timeout=MAX_WAIT_SECONDS)
        call = health.Watch(health_pb2.HealthCheckRequest()) if watch else None
        if call is not None:
            await call.read()
        sent = relay.request_bytes
        async with asyncio.timeout(5 * PINGS + MAX_WAIT_SECONDS):
            while relay.request_bytes < sent + PINGS * PING_BYTES:
                assert channel.get_state() is grpc.ChannelConnectivity.READY
                assert call is None or not call.done()
                await asyncio.sleep(0.1)
        await health.Check(health_pb2.HealthCheckRequest(), timeout=MAX_WAIT_SECONDS)
        assert relay.connections == 1
        if call is not None:
            call.cancel()
