"""Two servers on one store are restarted one after the other under load, repeatedly.

Callers that spread over both, and retry as clients do by default, see no error; everything acknowledged counts once.

Guards: a server that is asked to stop answers what it has and says `SHUTTING_DOWN` to the rest (`lane.py`,
`_draining`), and a retried use has an event id (`client/canuse/_requests.py`, `give_event_ids`): without the first a
caller sees an error, without the second a retry is counted twice.
"""

import asyncio
import os
import socket
import stat
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from canuse import CanuseError
from support.chaos import Report, Rounds
from support.load import used
from support.message_clients import AsyncClient, Client
from support.processes import Canuse, RedisServer
from support.resources import subscriber

pytestmark = pytest.mark.chaos

SHORT, LONG = 2, 50
WORKERS = 16
CALLS = 300
"""Minimum number of calls answered between two restarts."""


async def test_a_rolling_restart_gives_callers_no_error(
    transport: str, tmp_path: Path, redis: RedisServer, rounds: Rounds, report: Report
) -> None:
    servers = [server(tmp_path / name, transport, redis) for name in ("one", "other")]
    for each in servers:
        await asyncio.to_thread(each.start)
    answered: Counter[str] = Counter()
    faults: list[CanuseError] = []
    restarts = 0
    try:
        user_id, feature_id = await asyncio.to_thread(create_subscriber, servers[0].address)
        target = "ipv4:" + ",".join(each.address for each in servers)
        # Otherwise gRPC sends both addresses at once as the host.
        host = (("grpc.default_authority", "canuse"),)
        async with AsyncClient(target, timeout_seconds=20, options=host, retry=True) as client:
            done = asyncio.Event()

            async def work() -> None:
                while not done.is_set():
                    try:
                        await client.use_feature(user_id, feature_id)
                        answered["uses"] += 1
                        await client.can_use(user_id, feature_id)
                        answered["checks"] += 1
                        await client.show_usage(user_id, feature_id)
                        answered["reads"] += 1
                    except CanuseError as error:
                        faults.append(error)

            workers = [asyncio.create_task(work()) for _ in range(WORKERS)]
            for _ in rounds(SHORT, LONG):
                for each in servers:
                    await more(answered, CALLS)
                    before = connections_to(each.address)
                    assert await asyncio.to_thread(each.stop) == 0
                    await more(answered, CALLS)
                    await asyncio.to_thread(each.start)
                    # As the docs ask for: the next one is restarted when callers have found this one again.
                    await a_connection(each.address, before)
                    restarts += 1
            await more(answered, CALLS)
            done.set()
            await asyncio.gather(*workers)
        counted = await asyncio.to_thread(count, servers[0].address, user_id, feature_id)
    finally:
        for each in servers:
            await asyncio.to_thread(each.stop)
    report("rolling-restart", transport=transport, restarts=restarts, **answered, errors=len(faults), counted=counted)
    assert faults == []
    assert counted == answered["uses"]


def server(folder: Path, transport: str, redis: RedisServer) -> Canuse:
    folder.mkdir()
    return Canuse(folder, "--transport", transport, "--redis-url", redis.url)


def create_subscriber(address: str) -> tuple[str, str]:
    with Client(address) as client:
        return subscriber(client, None)


def count(address: str, user_id: str, feature_id: str) -> int:
    with Client(address) as client:
        return used(client, user_id, feature_id)


async def a_connection(address: str, before: set[int]) -> None:
    """Wait until the caller has a new connection to an address."""
    async with asyncio.timeout(60):
        while not connections_to(address) - before:
            await asyncio.sleep(0.01)


def connections_to(address: str) -> set[int]:
    """Return the local ports of the connections that this process has to an address."""
    port = int(address.rpartition(":")[2])
    found = set()
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as connection:
                # gRPC has IPv4 addresses in their IPv6 form.
                if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getpeername()[1] == port:
                    found.add(connection.getsockname()[1])
    return found


async def more(answered: "Counter[str]", calls: int) -> None:
    """Wait until so many further calls are answered."""
    target_calls = answered.total() + calls
    async with asyncio.timeout(60):
        while answered.total() < target_calls:
            await asyncio.sleep(0.01)
