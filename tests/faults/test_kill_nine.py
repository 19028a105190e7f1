"""Acknowledged events survive whichever process is killed, and others can be sent again: each counts once."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.load import Events, callers, in_groups, running, used, wait_until
from support.message_clients import Client
from support.processes import Canuse
from support.resources import subscriber, unique
from support.stores import valkey_pid, valkey_socket

CONNECTIONS = 4
WORKERS = 20
ENOUGH = 300


def events_of_somebody(canuse: Canuse) -> Events:
    with Client(canuse.address) as client:
        return Events(*subscriber(client, None))


def count(canuse: Canuse, events: Events) -> int:
    with Client(canuse.address) as client:
        return used(client, events.user_id, events.feature_id)


@asynccontextmanager
async def load(canuse: Canuse, events: Events) -> AsyncIterator[None]:
    """Send events from many workers while the block runs, which starts once many have been acknowledged."""
    over = asyncio.Event()
    async with callers(canuse.address, CONNECTIONS) as clients:
        load = asyncio.create_task(events.send_continuously(clients, WORKERS, over))
        await wait_until(lambda: len(events.acknowledged) >= ENOUGH or load.done())
        try:
            yield
        finally:
            over.set()
            await load


async def send_the_rest(canuse: Canuse, events: Events) -> None:
    """Send again what was not acknowledged, each with its event id."""
    async with callers(canuse.address, 1) as (client,):
        rest = list(events.unacknowledged)
        await in_groups(WORKERS, (events.send_until_acknowledged(client, event_id) for event_id in rest))


async def assert_repeated_as_acknowledged(canuse: Canuse, events: Events) -> None:
    """Send again what was acknowledged: each must be known, with the same answer."""
    acknowledged = dict(events.acknowledged)
    async with callers(canuse.address, 1) as (client,):
        calls = (client.create_usage_event(events.user_id, events.feature_id, event_id=event) for event in acknowledged)
        again = await in_groups(WORKERS, calls)
    assert all(answer.replayed for answer in again)
    assert [answer.consumption.used for answer in again] == [
        answer.consumption.used for answer in acknowledged.values()
    ]


async def kill_both(canuse: Canuse) -> None:
    """Kill the server and its Valkey, as a power cut would: neither can react to the other's end."""
    valkey = valkey_pid(canuse)
    os.kill(valkey, signal.SIGSTOP)
    os.kill(canuse.pid, signal.SIGSTOP)
    # Answers sent by now reach their callers, which send more: some calls are certainly in progress.
    await asyncio.sleep(0.1)
    os.kill(valkey, signal.SIGKILL)
    canuse.kill()


async def test_every_acknowledged_event_survives_a_kill_of_everything_under_load_and_none_counts_twice(
    transport: str, tmp_path: Path
) -> None:
    with running(Canuse(tmp_path, "--transport", transport, env={"CANUSE_FSYNC": "always"})) as canuse:
        events = events_of_somebody(canuse)
        async with load(canuse, events):
            await kill_both(canuse)
        assert events.unacknowledged, "nothing was under way"
        acknowledged = len(events.acknowledged)
        await asyncio.to_thread(canuse.start)
        before = count(canuse, events)
        assert acknowledged <= before <= acknowledged + len(events.unacknowledged)
        await assert_repeated_as_acknowledged(canuse, events)
        assert count(canuse, events) == before
        await send_the_rest(canuse, events)
        assert count(canuse, events) == len(events.acknowledged)


@pytest.mark.extended
async def test_by_default_an_event_survives_a_kill_of_everything_once_the_window_of_fsync_has_passed(
    tmp_path: Path,
) -> None:
    with running(Canuse(tmp_path)) as canuse:
        events = events_of_somebody(canuse)
        async with load(canuse, events):
            pass
        assert not events.unacknowledged
        await asyncio.sleep(2)
        await kill_both(canuse)
        await asyncio.to_thread(canuse.start)
        assert count(canuse, events) == len(events.acknowledged)


async def test_a_killed_valkey_is_brought_back_under_load_and_nothing_is_lost_or_counted_twice(
    transport: str, tmp_path: Path
) -> None:
    with running(Canuse(tmp_path, "--transport", transport, env={"CANUSE_FSYNC": "always"})) as canuse:
        events = events_of_somebody(canuse)
        killed = valkey_pid(canuse)
        async with load(canuse, events):
            os.kill(killed, signal.SIGKILL)
            before = len(events.acknowledged)
            await wait_until(lambda: len(events.acknowledged) >= before + ENOUGH)
        assert valkey_pid(canuse) != killed
        await send_the_rest(canuse, events)
        assert count(canuse, events) == len(events.acknowledged)
    assert not canuse.failed_unexpectedly()


async def test_the_valkey_of_a_killed_server_ends_and_a_new_start_has_every_acknowledged_event(
    transport: str, tmp_path: Path
) -> None:
    with running(Canuse(tmp_path, "--transport", transport)) as canuse:
        events = events_of_somebody(canuse)
        async with load(canuse, events):
            canuse.kill()
        await wait_until(lambda: not listens(valkey_socket(canuse)))
        await asyncio.to_thread(canuse.start)
        await assert_repeated_as_acknowledged(canuse, events)
        await send_the_rest(canuse, events)
        assert count(canuse, events) == len(events.acknowledged)


async def test_a_server_that_is_killed_and_started_again_at_once_has_every_acknowledged_event(tmp_path: Path) -> None:
    with running(Canuse(tmp_path)) as canuse:
        events = events_of_somebody(canuse)
        async with callers(canuse.address, 1) as (client,):
            assert await events.send(client, unique("event"))
        canuse.kill()
        await asyncio.to_thread(canuse.start)
        assert count(canuse, events) == 1


def listens(path: str) -> bool:
    """Whether a process listens on a socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0
