"""One server is restarted under the load of clients with their default settings: no call fails, and the count is exact.

Guards: retries wait for the connection, and each recording call has an event id (`client/canuse/_retry.py`).
"""

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import canuse
from canuse import v1
from support.load import MAX_WAIT_SECONDS, used
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.resources import subscriber

RESTARTS = 2
CALLS = 200
"""Minimum number of calls answered between two restarts."""
THREADS = TASKS = 8


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_a_graceful_restart_of_the_only_server_fails_no_call_and_counts_each_use_once(
    transport: str, tmp_path: Path, redis: RedisServer
) -> None:
    # Two of 134 calls failed: gRPC made three tries in 0.4 seconds, with five seconds to spare.
    server = Canuse(tmp_path, "--transport", transport, "--redis-url", redis.url).start()
    try:
        with Client(server.address) as setup:
            user_id, feature_id = subscriber(setup, None)
        answered: Counter[str] = Counter()
        done = threading.Event()

        def work_in_thread(client: canuse.Client) -> None:
            while not done.is_set():
                client.use_feature(user_id, feature_id)
                answered["uses"] += 1
                client.can_use(user_id, feature_id)

        async def work_in_loop() -> None:
            async with canuse.AsyncClient(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client:

                async def work_in_task() -> None:
                    while not done.is_set():
                        await client.create_usage_event(user_id, feature_id)
                        answered["events"] += 1
                        await client.show_usage(user_id, feature_id)

                async with asyncio.TaskGroup() as tasks:
                    for _ in range(TASKS):
                        tasks.create_task(work_in_task())

        # Five seconds, the default, are enough for a restart where nothing else keeps the processor busy.
        with (
            canuse.Client(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client,
            ThreadPoolExecutor(THREADS + 1) as threads,
        ):
            workers = [threads.submit(work_in_thread, client) for _ in range(THREADS)]
            workers.append(threads.submit(asyncio.run, work_in_loop()))
            try:
                for _ in range(RESTARTS):
                    wait_for_more(answered)
                    assert server.stop() == 0
                    server.start()
                wait_for_more(answered)
            finally:
                done.set()
            for worker in workers:
                worker.result()
        with Client(server.address) as setup:
            assert used(setup, user_id, feature_id) == answered["uses"] + answered["events"]
    finally:
        server.stop()


def wait_for_more(answered: Counter[str]) -> None:
    """Wait until so many further calls are answered."""
    target, deadline = answered.total() + CALLS, time.monotonic() + 60
    while answered.total() < target:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_while_the_server_is_gone_checks_are_answered_by_the_feature_and_soon_after_it_is_back_by_the_service(
    tmp_path: Path, redis: RedisServer
) -> None:
    server = Canuse(tmp_path, "--redis-url", redis.url).start()
    try:
        with Client(server.address) as setup:
            user_id, feature_id = subscriber(setup, 5)
            setup.update_feature(feature_id, on_unavailable=v1.ON_UNAVAILABLE_LAST_KNOWN)
        with canuse.Client(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
            assert client.can_use(user_id, feature_id).source == canuse.Source.SOURCE_STORE
            server.kill()
            five, six = client.can_use(user_id, feature_id, 5), client.can_use(user_id, feature_id, 6)
            assert (five.access, six.access) == (True, False)
            assert five.source == six.source == canuse.Source.SOURCE_LAST_KNOWN
            assert isinstance(five.failure, canuse.Unavailable)
            server.start()
            deadline = time.monotonic() + MAX_WAIT_SECONDS
            while client.can_use(user_id, feature_id).source != canuse.Source.SOURCE_STORE:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        server.stop()


async def test_uses_go_to_the_attached_recorder_while_the_server_is_gone_and_count_once(
    tmp_path: Path, redis: RedisServer
) -> None:
    server = Canuse(tmp_path, "--redis-url", redis.url).start()
    try:
        with Client(server.address) as setup:
            user_id, feature_id = subscriber(setup, None)
        async with (
            canuse.AsyncClient(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client,
            client.recorder(tmp_path / "spool") as recorder,
        ):
            client.attach(recorder)
            assert await client.create_usage_event(user_id, feature_id)
            async with client.using(user_id, feature_id, 2) as use:
                server.kill()
            assert use.failure
            answer = await client.create_usage_event(user_id, feature_id, 3)
            assert (answer.recorded, bool(answer.failure), recorder.depth) == (False, True, 2)
            server.start()
            assert await recorder.flush(MAX_WAIT_SECONDS)
            assert recorder.refused() == []
        with Client(server.address) as setup:
            assert used(setup, user_id, feature_id) == 6
    finally:
        server.stop()
