"""Reports and extensions whose answers are lost between the server and its store are made again, and count once."""

import asyncio
from pathlib import Path

import pytest

import canuse
from support.load import wait_until
from support.local_decisions import is_local, use_until
from support.message_clients import Client
from support.processes import RedisServer
from support.relay import server_behind_relay
from support.resources import subscriber

ROUNDS = 4


@pytest.mark.parametrize("store_program", ["valkey"], indirect=True, scope="session")
async def test_a_report_whose_answer_was_lost_counts_once(redis: RedisServer, tmp_path: Path) -> None:
    env = {"CANUSE_STORE_TIMEOUT_SECONDS": "20"}
    async with server_behind_relay("native", tmp_path, redis, **env) as (server, relay):

        def begin() -> tuple[str, str]:
            with Client(server.address, timeout_seconds=30) as plain:
                return subscriber(plain, 1_000_000)

        def used() -> int:
            with Client(server.address, timeout_seconds=30) as plain:
                return plain.show_usage(*names).current.used

        names = await asyncio.to_thread(begin)
        lease = canuse.Lease(report_seconds=0.1, ttl_seconds=60, idle_seconds=60)
        client = canuse.Client(server.address, timeout_seconds=30, leases={names[1]: lease})
        yes = 0
        for _ in range(ROUNDS):
            yes += await asyncio.to_thread(use_until, client, *names, is_local)
            await wait_until(lambda: not client.leases().unreported)
            executed = redis.calls("evalsha")
            relay.hold_replies()
            assert client.use_feature(*names).local
            yes += 1
            await wait_until(lambda: redis.calls("evalsha") > executed)  # noqa: B023 - it waits
            relay.cut()
            relay.release()
            await wait_until(lambda: not client.leases().unreported)
            assert await asyncio.to_thread(used) == yes
        await asyncio.to_thread(client.close)
        assert await asyncio.to_thread(used) == yes
        assert client.leases().lost == 0
