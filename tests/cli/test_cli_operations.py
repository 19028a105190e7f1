"""The commands that ask the port for health and metrics."""

import math
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from canuse_server.cli.operations.figures import Figures, quantile
from support.command_line import CommandLine, Outcome
from support.load import MAX_WAIT_SECONDS, running, until
from support.message_clients import Client
from support.processes import SHORT_STORE_TIMEOUT, Canuse, RedisServer, free_port
from support.resources import subscriber
from support.tools import VALKEY_SERVER

ANY_PORT = {"CANUSE_OPS_LISTEN": "127.0.0.1:0"}
TOP = (sys.executable, "-m", "canuse_server", "top", "--ops")
CAN_USE = "canuse.v1.EntitlementService/CanUse"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server with a port for operations."""
    with running(Canuse(tmp_path_factory.mktemp("watched"), env=ANY_PORT)) as canuse:
        yield canuse


def ask(canuse: Canuse, *arguments: str) -> Outcome:
    """Run a command against a server."""
    return CommandLine(canuse.address)(*arguments, CANUSE_OPS=canuse.ops_url)


@pytest.mark.extended
def test_health_follows_the_store_and_live_does_not(tmp_path: Path) -> None:
    store = RedisServer(VALKEY_SERVER, tmp_path / "store").start()
    try:
        options = ("--redis-url", store.url)
        with running(Canuse(tmp_path, *options, env={**ANY_PORT, **SHORT_STORE_TIMEOUT})) as canuse:
            assert ask(canuse, "health") == Outcome(0, "ok\n", "")
            store.command("FLUSHALL")
            until(lambda: ask(canuse, "health").status == 1)
            assert ask(canuse, "health").stdout.startswith("not ready: ")
            assert ask(canuse, "health", "--live") == Outcome(0, "ok\n", "")
            assert "NOT READY" in ask(canuse, "top", "--once").stdout
    finally:
        store.stop()


@pytest.mark.extended
def test_where_nobody_answers_the_commands_end_with_status_2_and_one_line(server: Canuse) -> None:
    for ops in (
        "http://127.0.0.1:1",
        "127.0.0.1:1",
        "ftp://127.0.0.1:1",
        "http://",
        "http://127.0.0.1:nine",
        "/metrics",
    ):
        for command in (("health",), ("health", "--live"), ("top", "--once")):
            ended = CommandLine("")(*command, "--ops", ops)
            assert (ended.status, ended.stdout) == (2, ""), (command, ops)
            [line] = ended.stderr.splitlines()
            assert line.startswith(("canuse: no answer from ", "canuse: --ops: ")), line
    # Its port for gRPC is another one.
    assert ask(server, "health", "--ops", server.address).status == 2


def test_a_port_that_is_not_canuses_is_no_answer(tmp_path: Path) -> None:
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
    with running(Canuse(tmp_path, env=env)) as canuse:
        for command in (("health",), ("top", "--once")):
            ended = ask(canuse, *command, "--ops", canuse.http_url)
            assert (ended.status, ended.stdout) == (2, "")
            assert "with status 404: is that the ops_listen of a canuse server?" in ended.stderr


def test_top_agrees_with_the_calls_that_were_made(watched: Canuse) -> None:
    with Client(watched.address) as client:
        user_id, feature_id = subscriber(client, 2)
        for _ in range(3):
            client.can_use(user_id, feature_id)
        client.can_use(user_id, feature_id, 3)
    until(lambda: re.search(rf"{CAN_USE} .* 4\n", ask(watched, "top", "--once").stdout))
    shown = ask(watched, "top", "--once")
    assert (shown.status, shown.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert re.match(r"canuse \S+ \(native\): ready, [\d.]+ calls/s, 0 in flight", lines[0])
    assert f"grpc {CAN_USE} - 0.0 4" in lines
    assert f"live {feature_id} WITHIN_BUDGET 0.0 3" in lines
    assert f"live {feature_id} BUDGET_EXCEEDED 0.0 1" in lines
    assert any(line.startswith("users, live ") for line in lines)
    [first] = [line for line in ask(watched, "top", "--once", "--rows", "1").stdout.splitlines() if "more" in line][:1]
    assert re.match(r"… and \d+ more", first)


@pytest.mark.extended
def test_top_goes_on_in_a_pipe_until_nobody_reads(watched: Canuse) -> None:
    with subprocess.Popen([*TOP, watched.ops_url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as top:
        assert top.stdout is not None
        for _ in range(2):
            assert (
                next(line for line in top.stdout if line.startswith("canuse ")).partition(": ")[2].startswith("ready")
            )
        top.stdout.close()
        assert top.wait(MAX_WAIT_SECONDS) == 74


@pytest.mark.extended
def test_top_in_a_terminal_shows_a_server_that_went_and_came_back_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    env = {"CANUSE_OPS_LISTEN": f"127.0.0.1:{free_port()}"}
    terminal, inside = pty.openpty()
    server = Canuse(tmp_path, env=env).start()
    # A background job, as CI may be, inherits that SIGINT is ignored.
    heeding = (
        "-c",
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])",
    )
    command = (sys.executable, *heeding, *TOP, server.ops_url)
    top = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, start_new_session=True)
    os.close(inside)
    try:
        read_until(terminal, ": ready, ")
        server.stop()
        read_until(terminal, "no answer from ")
        server.start()
        read_until(terminal, ": ready, ")
        top.send_signal(signal.SIGINT)
        assert top.wait(MAX_WAIT_SECONDS) == 130
    finally:
        top.kill()
        top.wait()
        os.close(terminal)
        server.stop()


def read_until(terminal: int, text: str) -> None:
    """Read what a terminal shows until a text appears."""
    shown = b""
    while text.encode() not in shown:
        readable, _, _ = select.select([terminal], [], [], MAX_WAIT_SECONDS)
        assert readable, shown
        shown += os.read(terminal, 1 << 16)


def test_figures_grow_from_zero_again_where_a_server_was_replaced() -> None:
    before = Figures.parse('a_total{x="1"} 10\na_total{x="2"} 5\n', 1)
    now = Figures.parse('# HELP a_total What\na_total{x="1"} 12\na_total{x="2"} 3\na_total{x="3"} 7\n', 3)
    change = now.since(before)
    assert (change.moment, dict(change.samples["a_total"])) == (
        2,
        {(("x", "1"),): 2, (("x", "2"),): 3, (("x", "3"),): 7},
    )


def test_labels_are_read_as_prometheus_writes_them() -> None:
    registry = CollectorRegistry()
    names = ['quote " and } 5', "back\\slash", "line\nbreak", "\\n", "separator\u2028", 'a,b="c"']
    counter = Counter("a", "What.", ["name"], registry=registry)
    for number, name in enumerate(names):
        counter.labels(name).inc(number)
    figures = Figures.parse(generate_latest(registry).decode(), 0)
    assert {labels["name"]: value for labels, value in figures.of("a_total")} == dict(zip(names, range(6), strict=True))


def test_a_quantile_is_the_upper_bound_of_its_bucket() -> None:
    registry = CollectorRegistry()
    seconds = Histogram("a", "What.", ["method"], buckets=(0.1, 1.0), registry=registry)
    empty = Figures.parse(generate_latest(registry).decode(), 0)
    assert quantile(empty, "a", 0.99) is None
    for duration in (*[0.05] * 98, 0.5, 0.5):
        seconds.labels("fast").observe(duration)
    seconds.labels("slow").observe(5)
    figures = Figures.parse(generate_latest(registry).decode(), 0)
    assert quantile(figures, "a", 0.5, method="fast") == 0.1
    assert quantile(figures, "a", 0.98, method="fast") == 0.1
    assert quantile(figures, "a", 0.99, method="fast") == 1.0
    assert quantile(figures, "a", 0.99, method="slow") == math.inf
