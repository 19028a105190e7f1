"""`canuse export-usage`: the ledger of all users as lines of JSON, each event once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from canuse import v1
from canuse_server.store.keys import bucket_of
from support.command_line import CommandLine, Outcome
from support.load import running
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.resources import consumable, package, unique
from support.store_inspection import KEYS, user_in_same_bucket

pytestmark = pytest.mark.extended
run = CommandLine("")
CANNOT_WRITE = 74


def lines(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the events that an export printed."""
    assert (outcome.status, outcome.stderr) == (0, "")
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def test_each_event_is_exported_once_as_the_api_shows_it(valkey: RedisServer, tmp_path: Path) -> None:
    cursor, on = str(tmp_path / "cursor"), ("--redis-url", valkey.url)
    with running(Canuse(tmp_path, *on)) as canuse, Client(canuse.address) as client:
        asking = CommandLine(canuse.address)
        feature, unlimited = consumable(client), consumable(client)
        entries = [v1.PackageFeature(feature_id=feature, limit=3), v1.PackageFeature(feature_id=unlimited)]
        sold = package(client, entries)
        first = unique("user")
        user_ids = [first, user_in_same_bucket(first), unique("user")]
        for user_id in user_ids:
            client.ensure_user(user_id, package_id=sold)
            client.create_usage_event(user_id, feature, 2, event_id="é", metadata={"z": "1", "a": "\n"})
            client.create_usage_event(user_id, feature, 5)
            client.create_usage_event(user_id, unlimited, 7, action=v1.USAGE_ACTION_SET)

        def shown() -> list[dict[str, Any]]:
            return [
                {"user_id": user_id, **event}
                for user_id in user_ids
                for event in reversed(asking("events", user_id, "--json").json())
            ]

        def by_user(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return sorted(events, key=lambda event: user_ids.index(event["user_id"]))

        exported = by_user(lines(run("export-usage", *on, "--cursor", cursor)))
        assert exported == shown()
        assert len(exported) == 9
        assert lines(run("export-usage", *on, "--cursor", cursor)) == []
        client.create_usage_event(first, feature)
        (later,) = lines(run("export-usage", *on, "--cursor", cursor))
        assert (later["user_id"], later["used"]) == (first, 8)
        assert lines(run("export-usage", *on, "--cursor", cursor, "--since", "2020-01-01T00:00:00Z")) == []
        assert by_user(lines(run("export-usage", *on))) == shown()
        assert lines(run("export-usage", *on, "--since", later["time"]))[-1] == later
        assert lines(run("export-usage", *on, "--since", "2100-01-01T00:00:00Z")) == []
        assert lines(run("export-usage", *on, "--environment", "test")) == []


def test_an_export_that_is_not_read_to_its_end_is_continued_from_what_was_written(
    valkey: RedisServer, tmp_path: Path
) -> None:
    """Several thousand events of one user, and a reader that ends after the first."""
    cursor, user_id, number = tmp_path / "cursor", unique("user"), 4500
    with running(Canuse(tmp_path, "--redis-url", valkey.url)) as canuse, Client(canuse.address) as client:
        feature = consumable(client)
        client.ensure_user(user_id, package_id=package(client, [v1.PackageFeature(feature_id=feature)]))
        client.create_usage_event(user_id, feature)
    command = f"{sys.executable} -m canuse_server export-usage --redis-url {valkey.url} --cursor {cursor}"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("CANUSE_", "PYTHONUNBUFFERED"))
    }
    full = subprocess.run(["/bin/sh", "-c", f"{command} > /dev/full"], env=environment, check=False)
    assert full.returncode == CANNOT_WRITE
    assert not cursor.exists()
    ledger = KEYS.ledger(bucket_of(user_id))
    with Redis.from_url(valkey.url) as redis:
        ((entry_id, fields),) = redis.xrange(ledger)
        time_ms = int(entry_id.split(b"-")[0])
        with redis.pipeline() as pipeline:
            for serial in range(1, number):
                pipeline.xadd(ledger, fields, id=f"{time_ms + serial}-0")
            pipeline.execute()
    read = subprocess.run(
        ["/bin/sh", "-c", f"{command} | head -n 1"], env=environment, capture_output=True, text=True, check=True
    )
    assert len(read.stdout.splitlines()) == 1
    assert "cannot write the output" in read.stderr
    places = json.loads(cursor.read_text())["exported"] if cursor.exists() else {}
    rest = lines(run("export-usage", "--redis-url", valkey.url, "--cursor", str(cursor)))
    done = int(places.get(str(bucket_of(user_id)), f"{time_ms - 1}-0").split("-")[0]) - time_ms + 1
    assert 0 <= done < number
    assert [event["id"] for event in rest][1 if not done else 0 :] == [
        f"{time_ms + n}-0" for n in range(done or 1, number)
    ]


def test_what_is_not_a_cursor_or_a_time_is_refused(valkey: RedisServer, tmp_path: Path) -> None:
    cursor, on = tmp_path / "cursor", ("--redis-url", valkey.url)
    for content in ("no", "[]", '{"environment": "live"}', '{"environment": "live", "exported": {"1": "x"}}'):
        cursor.write_text(content)
        outcome = run("export-usage", *on, "--cursor", str(cursor))
        assert (outcome.status, outcome.stdout) == (2, "")
        assert outcome.stderr == f"canuse: --cursor: {cursor} was not written by this command\n"
    cursor.write_text('{"environment": "test", "exported": {}}')
    assert "is that of an export of test" in run("export-usage", *on, "--cursor", str(cursor)).stderr
    assert "--since: 'today' is not a time" in run("export-usage", *on, "--since", "today").stderr
