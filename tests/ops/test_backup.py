"""Backups of stores that servers use, by the command."""

import asyncio
import os
import signal
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Final

import pytest
from redis import Redis

from canuse import CanuseError, v1
from canuse_server.store.keys import SCHEMA, bucket_of
from canuse_server.store.preflight.schema import RESTORING
from support import fork_server
from support.acl_redis import AclRedis
from support.command_line import CommandLine, Outcome
from support.load import callers, in_groups, running
from support.message_clients import AsyncClient, Client
from support.processes import Canuse, RedisServer
from support.resources import consumable, package, subscriber, unique
from support.topologies import wait_for

pytestmark = pytest.mark.extended

USERS: Final = 80
INTERRUPTED: Final = 130
run = CommandLine("")


def done(outcome: Outcome) -> Outcome:
    """Return what a command said that has succeeded."""
    assert outcome.status == 0, outcome.stderr
    return outcome


async def test_under_load_the_count_and_the_events_of_each_user_belong_together(
    valkey: RedisServer, tmp_path: Path
) -> None:
    """All users are in one bucket, so that much time passes between the first user, the last one, and the ledger."""
    backup = str(tmp_path / "b")
    first = unique("user")
    others = (f"{first}-{number}" for number in count())
    user_ids = list(islice((each for each in others if bucket_of(each) == bucket_of(first)), USERS))
    with running(Canuse(tmp_path, "--redis-url", valkey.url)) as canuse:
        with Client(canuse.address) as client:
            feature = consumable(client)
            sold = package(client, [v1.PackageFeature(feature_id=feature)])
            for user_id in user_ids:
                client.ensure_user(user_id, package_id=sold)
        recorded, stop = dict.fromkeys(user_ids, 0), False

        async def use(client: AsyncClient, own: list[str]) -> None:
            number = 0
            while not stop:
                for user_id in own:
                    await client.create_usage_event(user_id, feature, event_id=f"e{number}")
                    recorded[user_id] += 1
                number += 1

        async with callers(canuse.address, 4) as clients:
            shares = [user_ids[at::16] for at in range(16)]
            load = [asyncio.create_task(use(clients[n % 4], own)) for n, own in enumerate(shares)]
            while min(recorded.values()) < 2:
                await asyncio.sleep(0.01)
            before = dict(recorded)
            done(await asyncio.to_thread(run, "backup", backup, "--redis-url", valkey.url))
            stop = True
            await asyncio.gather(*load)
    assert recorded != before, "there was no load"
    done(run("restore", backup, "--data-dir", str(tmp_path / "restored" / "data")))
    with running(Canuse(tmp_path / "restored")) as canuse:
        async with callers(canuse.address, 1) as [caller]:
            for user_id in user_ids:
                events = [event async for event in caller.list_usage_events(user_id)]
                used = (await caller.can_use(user_id, feature)).consumption.used
                assert len(events) == used
                assert before[user_id] <= used <= recorded[user_id]
                assert {event.event_id for event in events} == {f"e{number}" for number in range(used)}
                assert max(event.used for event in events) == used
            repeats = (caller.create_usage_event(user_id, feature, event_id="e0") for user_id in user_ids)
            assert all(answer.replayed for answer in await in_groups(16, repeats))


def test_a_running_server_continues_with_what_was_restored(tmp_path: Path) -> None:
    """Its embedded store is backed up and restored while it runs, and it is not restarted."""
    backup, data = str(tmp_path / "b"), ("--data-dir", str(tmp_path / "data"))
    with running(Canuse(tmp_path)) as canuse, Client(canuse.address, timeout_seconds=30) as client:
        user_id, feature = subscriber(client, 3)
        client.create_usage_event(user_id, feature, 2, event_id="e")
        done(run("backup", backup, *data))
        client.create_usage_event(user_id, feature)
        client.delete_user(user_id)
        others = subscriber(client, 3)
        refused = run("restore", backup, *data)
        assert (refused.status, refused.stdout) == (2, "")
        assert "has data of canuse" in refused.stderr
        assert client.can_use(*others).access
        done(run("restore", backup, *data, "--replace"))

        def used() -> int | None:
            with suppress(CanuseError):
                return client.can_use(user_id, feature).consumption.used
            return None

        wait_for(lambda: used() == 2, "the server does not use the restored data")
        with pytest.raises(CanuseError, match="FOUND"):
            client.can_use(*others)
        assert client.create_usage_event(user_id, feature, 2, event_id="e").replayed
        assert not client.use_feature(user_id, feature, 2).access
        new_user, new_feature = subscriber(client, 1)
        assert client.use_feature(new_user, new_feature).access
    assert not canuse.failed_unexpectedly()


def test_a_server_uses_no_store_with_a_part_of_a_backup(valkey: RedisServer, tmp_path: Path) -> None:
    backup = str(tmp_path / "b")
    with running(Canuse(tmp_path, "--redis-url", valkey.url)) as canuse:
        with Client(canuse.address) as client:
            user_id, feature = subscriber(client, 3)
        done(run("backup", backup, "--redis-url", valkey.url))
    with Redis.from_url(valkey.url) as redis:
        redis.set(SCHEMA, RESTORING)
    started = run("serve", "--redis-url", valkey.url, CANUSE_HTTP_LISTEN="", CANUSE_OPS_LISTEN="")
    assert started.status == 1
    assert "repeat it with canuse restore --replace" in started.stderr
    assert "repeat it with canuse restore --replace" in run("backup", backup, "--redis-url", valkey.url).stderr
    done(run("restore", backup, "--redis-url", valkey.url, "--replace"))
    with running(Canuse(tmp_path, "--redis-url", valkey.url)) as canuse, Client(canuse.address) as client:
        assert client.can_use(user_id, feature).access


def test_nothing_is_changed_by_a_file_that_is_no_backup(valkey: RedisServer, tmp_path: Path) -> None:
    data, no_backup = tmp_path / "data", tmp_path / "no"
    no_backup.write_text("no")
    for arguments in (("--redis-url", valkey.url), ("--data-dir", str(data)), ("--check",)):
        outcome = run("restore", str(no_backup), *arguments)
        assert (outcome.status, outcome.stdout) == (2, "")
        assert outcome.stderr == f"canuse: {no_backup} is not a backup made by canuse\n"
    assert not data.exists()
    with Redis.from_url(valkey.url) as redis:
        assert redis.dbsize() == 0


def test_a_backup_and_a_restore_need_the_documented_rights(tmp_path: Path) -> None:
    store = AclRedis(tmp_path / "acl")
    store.start()
    backup = str(tmp_path / "b")
    try:
        with running(Canuse(tmp_path, "--redis-url", store.acl_url)) as canuse, Client(canuse.address) as client:
            user_id, feature = subscriber(client, 3)
            client.use_feature(user_id, feature, event_id="e")
            refused = run("backup", backup, "--redis-url", store.acl_url)
            assert refused.status == 2
            assert refused.stderr.endswith("; docs/operations.md lists the rights that this command needs\n")
            done(run("backup", backup, "--redis-url", store.backup_url))
            done(run("restore", backup, "--redis-url", store.backup_url, "--replace"))
    finally:
        store.stop()


def test_progress_and_results_are_shown(tmp_path: Path) -> None:
    backup, data = str(tmp_path / "b"), str(tmp_path / "data")
    with running(Canuse(tmp_path, "--demo")):
        outcome = done(run("backup", backup, "--data-dir", data, "--progress"))
        assert outcome.stderr.splitlines()[-1] == "backed up 100%: 2 users, 0 usage events"
        assert outcome.stdout.startswith(f"backed up 2 users and 0 usage events to {backup}: ")
        assert done(run("backup", backup, CANUSE_DATA_DIR=data)).stderr == ""
    checked = done(run("restore", backup, "--check")).stdout
    assert checked.startswith(f"{backup} is complete: 2 users and 0 usage events, made by canuse ")
    outcome = done(run("restore", backup, "--data-dir", str(tmp_path / "new"), "--progress"))
    assert outcome.stdout == f"restored 2 users and 0 usage events from {backup}\n"
    assert outcome.stderr.splitlines()[-1] == "restored 100% of 2 users and 0 usage events"


def test_the_options_name_one_store_that_exists(tmp_path: Path) -> None:
    backup, data = str(tmp_path / "b"), str(tmp_path / "data")
    assert "is not the data directory of a canuse" in run("backup", backup, "--data-dir", data).stderr
    assert "give one of them" in run("backup", backup, "--data-dir", data, "--redis-url", "redis://127.0.0.1").stderr
    assert "redis_url: must be a URL" in run("backup", backup, CANUSE_REDIS_URL="nonsense").stderr
    assert run("backup", str(tmp_path / "no" / "b"), "--data-dir", data).status == 2
    assert list(tmp_path.iterdir()) == []


def test_a_backup_that_is_ended_leaves_nothing(valkey: RedisServer, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    errors = (tmp_path / "errors").open("wb")
    with running(Canuse(tmp_path, "--demo", "--redis-url", valkey.url)), errors:
        arguments = ("backup", str(folder / "b"), "--redis-url", valkey.url)
        command = fork_server.start(*arguments, env=dict(os.environ), stderr=errors.fileno())
        wait_for(lambda: list(folder.glob(".b.*.part")), "the backup was not begun")
        with valkey.paused():
            command.send_signal(signal.SIGTERM)
            assert command.wait(30) == INTERRUPTED
        assert command.stdout is not None
        command.stdout.close()
    assert list(folder.iterdir()) == []
