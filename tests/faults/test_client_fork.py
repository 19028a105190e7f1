"""Clients in forked processes, as of gunicorn with `--preload`: they connect again, or say why they cannot."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.load import running
from support.message_clients import Client
from support.processes import Canuse
from support.resources import subscriber

PROGRAM = """
import asyncio, faulthandler, os, sys, threading, time
import canuse

address, user_id, feature_id, before = sys.argv[1:]
client = canuse.Client(address, timeout_seconds=20)
asynchronous = canuse.AsyncClient(address, timeout_seconds=20)

async def check():
    return bool(await asynchronous.can_use(user_id, feature_id))

def keep_calling(stop):
    while not stop.is_set():
        client.can_use(user_id, feature_id)

stop = threading.Event()
if before == "calls":
    assert client.can_use(user_id, feature_id)
elif before == "asyncio":
    assert asyncio.run(check())
elif before == "threads":
    thread = threading.Thread(target=keep_calling, args=(stop,))
    thread.start()
    time.sleep(0.2)

def say(line):
    sys.stdout.write(f"{line}\\n")  # one write: with print, unbuffered, the lines of two workers run into each other
    sys.stdout.flush()

def work():
    faulthandler.dump_traceback_later(50, exit=True)
    try:
        for _ in range(20):
            assert client.use_feature(user_id, feature_id)
        assert asyncio.run(check())
        say("worked")
    except RuntimeError as error:
        say(error)

workers = []
for _ in range(3):
    if not (pid := os.fork()):
        work()
        os._exit(0) if before == "threads" else sys.exit(0)
    workers.append(pid)
for pid in workers:
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
if before != "nothing":
    assert client.use_feature(user_id, feature_id)
    say("the parent goes on")
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Canuse]:
    """A server with an embedded store."""
    with running(Canuse(tmp_path)) as server:
        yield server


def outcome(server: Canuse, before: str, **env: str) -> tuple[list[str], int]:
    """Run three forked workers; return what was printed, and what was counted."""
    with Client(server.address) as client:
        user_id, feature_id = subscriber(client, None)
        completed = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, server.address, user_id, feature_id, before],
            capture_output=True,
            text=True,
            env={**os.environ, **env},
            timeout=120,
            check=False,
        )
        assert completed.returncode == 0, completed.stderr
        current = client.show_usage(user_id, feature_id).current
        return completed.stdout.splitlines(), current.used


def test_a_client_that_was_made_before_the_fork_works_in_every_worker(server: Canuse) -> None:
    assert outcome(server, "nothing") == (["worked"] * 3, 60)


def test_a_client_that_was_used_before_the_fork_connects_again_in_every_worker(server: Canuse) -> None:
    assert outcome(server, "calls") == ([*["worked"] * 3, "the parent goes on"], 61)


@pytest.mark.parametrize(
    ("before", "env", "why"),
    [
        ("asyncio", {}, "had used a canuse.AsyncClient"),
        ("threads", {}, "had calls of a canuse.Client in flight"),
        ("calls", {"GRPC_ENABLE_FORK_SUPPORT": "0"}, "had used a canuse.Client, with GRPC_ENABLE_FORK_SUPPORT turned"),
    ],
)
def test_where_grpc_would_hang_or_abort_after_the_fork_the_client_says_what_to_do(
    server: Canuse, before: str, env: dict[str, str], why: str
) -> None:
    # The workers hung in their first call, or were ended by a failed check in gRPC.
    printed, used = outcome(server, before, **env)
    assert [line.startswith("canuse cannot be called in this process: it was forked from") for line in printed] == [
        True, True, True, False
    ]  # fmt: skip
    assert all(f"one that {why}" in line and "Make the first call after the fork" in line for line in printed[:3])
    assert (printed[3], used) == ("the parent goes on", 1)
