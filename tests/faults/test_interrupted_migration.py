"""A migration that is interrupted for any reason is resumed: every user moves once, and no use is lost."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import pytest

import canuse
from canuse import v1
from support.load import MAX_WAIT_SECONDS, OWN_CONNECTION, running, until, wait_until
from support.message_clients import AsyncClient, Client
from support.migrations import migrate
from support.population import Population, create_population
from support.processes import Canuse
from support.store_inspection import StoreInspector
from support.stores import store_of, valkey_pid

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SIZE = 2_500
"""More users than have moved when the first and the second message have been read."""
Messages = list[v1.MigrateSubscriptionsResponse]


@pytest.fixture(scope="module", params=["native", "grpcio"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server that each test breaks in such a way that it can be restarted."""
    with running(Canuse(tmp_path_factory.mktemp("at_work"), "--transport", request.param)) as server:
        yield server


@pytest.fixture(scope="module")
def population(server: Canuse) -> Population:
    """Users that each test finds on version 1 and leaves on version 2."""
    return create_population(server, SIZE)


@pytest.fixture
def before(server: Canuse, population: Population) -> list[int]:
    """How often each user has changed before the test; all are on version 1 then."""

    def begin() -> bool:
        with Client(server.address) as client:
            try:
                return migrate(client, population.package_id, to_version=1).done
            except canuse.Unavailable:
                return False  # The store is still being started again after the test before.

    until(begin)
    return changes(server, population)


def changes(server: Canuse, population: Population) -> list[int]:
    """Return how often each user has changed."""
    redis = store_of(server)
    found = population.changes(StoreInspector(redis))
    redis.close()
    return found


async def all_moved_once(server: Canuse, population: Population, before: list[int]) -> None:
    """Assert that every user has moved to version 2, once, and has kept the recorded use."""
    redis = store_of(server)
    assert population.versions(StoreInspector(redis)) == {2}
    redis.close()
    assert changes(server, population) == [count + 1 for count in before]
    async with AsyncClient(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
        assert set(await population.used(client)) == {1}


async def read(stream: AsyncIterator[v1.MigrateSubscriptionsResponse], messages: Messages) -> None:
    """Read a migration to its end; what was read before an interruption is kept."""
    async for message in stream:
        messages.append(message)


async def test_a_server_that_is_killed_in_the_middle(server: Canuse, population: Population, before: list[int]) -> None:
    messages: Messages = []
    async with AsyncClient(server.address) as client:
        stream = client.migrate_subscriptions(population.package_id)
        messages.append(await anext(stream))
        server.kill()
        with pytest.raises(canuse.Unavailable):
            await read(stream, messages)
    assert not messages[-1].done
    await asyncio.to_thread(server.start)
    moved = sum(count > was for count, was in zip(changes(server, population), before, strict=True))
    assert messages[-1].migrated <= moved < SIZE
    with Client(server.address, options=OWN_CONNECTION) as again:
        done = migrate(again, population.package_id, resume_token=messages[-1].resume_token)
    # What moved after the last message is in no total.
    assert done.migrated == messages[-1].migrated + SIZE - moved
    await all_moved_once(server, population, before)


async def test_a_server_that_is_asked_to_end_says_how_far_it_was(
    server: Canuse, population: Population, before: list[int]
) -> None:
    messages: Messages = []
    async with AsyncClient(server.address) as client:
        stream = client.migrate_subscriptions(population.package_id)
        messages.append(await anext(stream))
        os.kill(server.pid, signal.SIGTERM)
        with pytest.raises(canuse.Unavailable) as caught:
            await read(stream, messages)
    assert caught.value.reason == "SHUTTING_DOWN"
    assert not messages[-1].done
    assert await asyncio.to_thread(server.stop) == 0
    await asyncio.to_thread(server.start)
    moved = sum(count > was for count, was in zip(changes(server, population), before, strict=True))
    assert messages[-1].migrated == moved < SIZE
    with Client(server.address, options=OWN_CONNECTION) as again:
        done = migrate(again, population.package_id, resume_token=messages[-1].resume_token)
    assert done.migrated == SIZE
    await all_moved_once(server, population, before)
    assert not server.failed_unexpectedly()


async def test_a_store_that_is_killed_in_the_middle(server: Canuse, population: Population, before: list[int]) -> None:
    messages: Messages = []
    killed = valkey_pid(server)
    redis = store_of(server)
    redis.config_set("appendfsync", "always")  # What was acknowledged has to be there afterwards.
    redis.close()
    async with AsyncClient(server.address) as client:
        stream = client.migrate_subscriptions(population.package_id)
        messages.append(await anext(stream))
        os.kill(killed, signal.SIGKILL)
        with pytest.raises(canuse.OutcomeUnknown):
            await read(stream, messages)
        token = messages[-1].resume_token
        while not messages[-1].done:
            try:
                await read(client.migrate_subscriptions(population.package_id, resume_token=token), messages)
            except canuse.Unavailable:
                await asyncio.sleep(0.02)  # It is being started again.
    await all_moved_once(server, population, before)
    assert not server.failed_unexpectedly()


async def test_a_caller_that_disconnects_ends_it(server: Canuse, population: Population, before: list[int]) -> None:
    async with AsyncClient(server.address) as client:
        stream = client.migrate_subscriptions(population.package_id)
        async with aclosing(cast("AsyncGenerator[v1.MigrateSubscriptionsResponse, None]", stream)):
            first = await anext(stream)
    seen: list[int] = []
    while len(seen) < 2 or seen[-1] != seen[-2]:
        seen.append(sum(changes(server, population)) - sum(before))
    assert first.migrated <= seen[-1] < SIZE
    with Client(server.address, options=OWN_CONNECTION) as again:
        migrate(again, population.package_id, resume_token=first.resume_token)
    await all_moved_once(server, population, before)


async def test_a_dry_run_whose_store_is_killed_has_written_nothing(
    server: Canuse, population: Population, before: list[int]
) -> None:
    killed = valkey_pid(server)

    async def count_again_and_again(client: AsyncClient) -> None:
        while True:
            await read(client.migrate_subscriptions(population.package_id, dry_run=True), messages)

    messages: Messages = []
    async with AsyncClient(server.address) as client:
        counting = asyncio.create_task(count_again_and_again(client))
        await wait_until(lambda: messages)
        os.kill(killed, signal.SIGKILL)
        with pytest.raises(canuse.StoreUnavailable):
            await counting


async def test_the_command_says_how_to_go_on(server: Canuse, population: Population, before: list[int]) -> None:
    command = [sys.executable, "-m", "canuse_server", "migrate", population.package_id, "--server", server.address]
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stderr is not None
    assert (await process.stderr.readline()).startswith(b"users processed: ")
    server.kill()
    output, complaints = await process.communicate()
    assert (process.returncode, output) == (2, b"")
    said = complaints.decode().splitlines()[-2:]
    assert said[0].startswith(f"canuse: no answer from {server.address}")
    assert said[1].startswith("canuse: continue with the same command and --resume ")
    await asyncio.to_thread(server.start)
    command += said[1].split()[-2:]
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert b"subscriptions that moved: " in output
    await all_moved_once(server, population, before)
