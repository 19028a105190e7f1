"""How the command ends when the answer does not decide: output that can't be written, defects, Ctrl-C."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from socket import socket
from tempfile import TemporaryFile
from uuid import uuid4

import pytest

from support import fork_server
from support.command_line import CommandLine, Subscriber
from support.load import running
from support.message_clients import Client
from support.processes import STOP_SECONDS, Canuse

NO, ERROR, UNEXPECTED, OUTPUT, INTERRUPTED = 1, 2, 70, 74, 130
FULL = Path("/dev/full")
pytestmark = pytest.mark.extended
needs_dev_full = pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """One server: how a command ends does not depend on transport or store."""
    with running(Canuse(tmp_path_factory.mktemp("server"))) as started:
        yield started


@pytest.fixture
def client(server: Canuse) -> Iterator[Client]:
    """A client of it."""
    with Client(server.address) as connected:
        yield connected


def bare_environment() -> dict[str, str]:
    """Return the environment without settings of canuse, and with Python's default buffering of output."""
    ours = ("CANUSE_", "PYTHONUNBUFFERED")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)}


def canuse(address: str, *arguments: str, stdout: int, **env: str) -> tuple[int, str]:
    """Run the command with its output redirected; return its status and its standard error."""
    completed = subprocess.run(
        [sys.executable, "-m", "canuse_server", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=bare_environment() | {"CANUSE_SERVER": address} | env,
        timeout=60,
        check=False,
    )
    return completed.returncode, completed.stderr


def to_a_full_disk(address: str, *arguments: str) -> tuple[int, str]:
    """Run the command with its output on a full disk."""
    with FULL.open("wb") as full:
        return canuse(address, *arguments, stdout=full.fileno())


def to_a_closed_pipe(address: str, *arguments: str) -> tuple[int, str]:
    """Run the command with its output in a pipe that nobody reads any more, as after `| head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return canuse(address, *arguments, stdout=writer)
    finally:
        os.close(writer)


def commands(subscriber: Subscriber, client: Client) -> list[list[str]]:
    """Return a command of each kind of output, and one whose answer is no."""
    nobody = client.create_user(f"user-{uuid4().hex}").id
    return [
        ["record", subscriber.user, subscriber.unlimited],
        ["record", nobody, subscriber.counted],
        ["can-use", subscriber.user, subscriber.counted, "--json"],
        ["reserve", subscriber.user, subscriber.unlimited, "1"],
        ["usage", subscriber.user],
        ["users", "show", subscriber.user],
        ["keys", "list"],
        ["export-user", subscriber.user],
        ["migrate", subscriber.package, "--dry-run", "--json"],
        ["--help"],
    ]


@needs_dev_full
def test_output_that_cannot_be_written_is_reported_in_a_line_and_has_its_own_status(
    server: Canuse, subscriber: Subscriber, client: Client
) -> None:
    # `record … >/dev/full` recorded, printed a traceback and exited with 1, which means that nothing was recorded.
    for command in commands(subscriber, client):
        status, stderr = to_a_full_disk(server.address, *command)
        assert (status, stderr.splitlines()[-1:]) == (
            OUTPUT,
            ["canuse: cannot write the output: No space left on device; the command's effect is not undone"],
        ), (command, stderr)
        assert "Traceback" not in stderr
    assert client.show_usage(subscriber.user, subscriber.unlimited).current.used == 1


def test_a_pipe_that_nobody_reads_is_reported_in_the_same_way(
    server: Canuse, subscriber: Subscriber, client: Client
) -> None:
    for command in commands(subscriber, client)[:4]:
        status, stderr = to_a_closed_pipe(server.address, *command)
        assert (status, stderr.splitlines()[-1:]) == (
            OUTPUT,
            ["canuse: cannot write the output: Broken pipe; the command's effect is not undone"],
        ), (command, stderr)
        assert "Traceback" not in stderr


def test_output_that_is_closed_is_reported_in_the_same_way(
    server: Canuse, subscriber: Subscriber, client: Client
) -> None:
    # The output was lost and the status was 0; a connection got the file descriptor.
    for command in commands(subscriber, client)[:3]:
        completed = closed(">&-", server.address, *command)
        assert (completed.returncode, completed.stderr.splitlines()) == (
            OUTPUT,
            ["canuse: cannot write the output: Bad file descriptor; the command's effect is not undone"],
        ), command


@needs_dev_full
@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["", "workers"])
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_a_server_serves_although_its_log_cannot_be_written(
    redirection: str, options: Sequence[str], tmp_path: Path
) -> None:
    # With a full disk it did not start, or ended; with stderr closed it wrote its settings to standard output.
    serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"), *options]
    line = f"exec {shlex.join([sys.executable, '-m', 'canuse_server', *serve])} {redirection}"
    env = bare_environment() | {"CANUSE_LISTN": "what is logged as unknown"}
    with subprocess.Popen(["/bin/sh", "-c", line], stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout
        try:
            ready = process.stdout.readline()
            assert ready.startswith("canuse ready on ")
            with Client(ready.split()[3], timeout_seconds=STOP_SECONDS) as asking:
                assert asking.create_user("somebody").id == "somebody"
        finally:
            process.terminate()
            rest, _ = process.communicate(timeout=STOP_SECONDS)
    assert (process.returncode, rest) == (0, "")


@needs_dev_full
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_an_error_that_cannot_be_printed_keeps_its_status(redirection: str, server: Canuse) -> None:
    # With a full disk the status was 120 or 70.
    for command in (["users", "show", "nobody"], ["users", "list", "--no-such-option"]):
        assert closed(redirection, server.address, *command).returncode == ERROR


def closed(redirection: str, address: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command with a redirection of the shell."""
    line = f"{shlex.join([sys.executable, '-m', 'canuse_server', *arguments])} {redirection}"
    env = bare_environment() | {"CANUSE_SERVER": address}
    return subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, env=env, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("events", "u", "--limit", "0"), "--limit: must be at least 1; '0' was given; see canuse events --help"),
        (("events", "u", "--limit", "9" * 30), "--limit: must be at most 1,000,000,000; '999"),
        (("events", "u", "--limit"), "Option '--limit' requires an argument; see canuse --help"),
        (("record", "u"), "Missing argument 'FEATURE'; "),
        (("users", "list", "--nowhere"), "No such option: --nowhere; "),
        (
            ("can-use", "u", "f", "--delta", "x"),
            "--delta: must be a whole number; 'x' was given; see canuse can-use --help",
        ),
        (("users", "nosuch"), "No such command 'nosuch'; "),
    ],
)
def test_a_command_line_that_cannot_be_used_is_one_line(
    run: CommandLine, arguments: Sequence[str], message: str
) -> None:
    # It was a box of five lines.
    refused = run(*arguments)
    assert (refused.status, refused.stdout) == (ERROR, "")
    [line] = refused.stderr.splitlines()
    assert line.startswith(f"canuse: {message}")
    assert re.search(r"; see canuse( [a-z-]+)* --help$", line)


@needs_dev_full
def test_a_server_that_cannot_say_that_it_is_ready_ends_and_says_why(tmp_path: Path) -> None:
    serve = ("serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"))
    status, stderr = to_a_full_disk("", *serve)
    assert status == OUTPUT
    assert stderr.splitlines()[-1].startswith("canuse: cannot write the output: No space left on device")
    assert "Traceback" not in stderr


def test_what_grpc_reports_of_a_connection_is_in_the_one_line(server: Canuse) -> None:
    # gRPC wrote a line of its own before it.
    status, stderr = canuse(server.address, "users", "list", "--tls", stdout=subprocess.DEVNULL)
    assert (status, len(stderr.splitlines())) == (ERROR, 1), stderr
    assert stderr.startswith(f"canuse: no answer from {server.address}: ")


def test_letters_that_the_terminal_does_not_have_are_escaped(run: CommandLine, client: Client) -> None:
    user = client.create_user(f"user-{uuid4().hex}", name="Xia 夏").id
    shown = run("users", "show", user, PYTHONIOENCODING="latin-1")
    assert (shown.status, shown.stderr) == (0, "")
    assert r"Xia \u590f" in shown.stdout


FAULTY = """
import typer
from canuse_server.cli import exit_status
app = typer.Typer()
@app.command()
def fail() -> None:
    raise RuntimeError("one\\ntwo")
exit_status.run(app)
"""


FAULTY_SERVER = """
import sys
from canuse_server.app import run
from canuse_server.cli import exit_status, main
from canuse_server.runtime import logs
def fail(*_: object) -> None:
    raise RuntimeError("one\\ntwo")
run.run, sys.argv = fail, ["canuse", "serve"]
logs.configure("info")
exit_status.run(main.app)
"""


def faulty(program: str = FAULTY, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command that contains a defect."""
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=bare_environment() | env,
        timeout=60,
        check=False,
    )


def test_an_error_that_no_command_expects_is_one_line_and_status_70() -> None:
    completed = faulty()
    assert (completed.returncode, completed.stdout) == (UNEXPECTED, "")
    [line] = completed.stderr.splitlines()
    assert line.startswith("canuse: unexpected RuntimeError: one two; set CANUSE_DEBUG=1 ")


def test_a_server_logs_where_an_error_arose_that_nobody_expects() -> None:
    completed = faulty(FAULTY_SERVER)
    assert completed.returncode == UNEXPECTED
    logged, line = completed.stderr.splitlines()
    assert "Traceback (most recent call last)" in json.loads(logged)["exception"]
    assert line.startswith("canuse: unexpected RuntimeError: one two")


def test_with_canuse_debug_it_shows_where() -> None:
    completed = faulty(CANUSE_DEBUG="1")
    assert completed.returncode == UNEXPECTED
    assert "Traceback (most recent call last):" in completed.stderr
    assert 'raise RuntimeError("one' in completed.stderr or "in fail" in completed.stderr


def test_ctrl_c_ends_a_command_with_130_and_no_traceback() -> None:
    with closing(socket()) as silent, TemporaryFile("w+") as errors:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        # The fork server sets SIGINT as a terminal does: a shell's background job, and all it starts, ignores it.
        process = fork_server.start("migrate", "p", "--server", address, env=bare_environment(), stderr=errors.fileno())
        assert process.stdout is not None
        connection, _ = silent.accept()  # It waits for an answer from now on.
        with closing(connection), process.stdout as output:
            process.send_signal(signal.SIGINT)
            status, stdout = process.wait(STOP_SECONDS), output.read()
        errors.seek(0)
        stderr = errors.read()
    assert (status, stdout) == (INTERRUPTED, "")
    assert "Traceback" not in stderr


PRESSED = """
import atexit, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)

def press():
    os.kill(os.getpid(), signal.SIGINT)

class Swallowing:
    def __del__(self):
        press()

class Finder:
    def find_spec(self, name, path, target=None):
        # What __del__ raises is printed and gets lost.
        if name == "typer":
            Swallowing()

if sys.argv[1] == "import":
    sys.meta_path.insert(0, Finder())
else:
    atexit.register(press)
sys.argv[1:] = ["service-config"]
import canuse_server
canuse_server.main()
"""


@pytest.mark.parametrize("moment", ["import", "exit"])
def test_ctrl_c_ends_a_command_before_and_after_it_runs(moment: str) -> None:
    completed = subprocess.run(
        [sys.executable, "-c", PRESSED, moment],
        capture_output=True,
        text=True,
        env=bare_environment(),
        timeout=60,
        check=False,
    )
    assert (completed.returncode, completed.stderr) == (INTERRUPTED, "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--server", ""], "--server: '' is not an address of a server; expected host:port"),
        (["--server", "foo"], "--server: 'foo' has no port; expected host:port"),
        (["--server", ":1"], "--server: ':1' is not an address"),
        (["--server", "host:99999"], "--server: 'host:99999' is not an address"),
        (["--server", "a b:1"], "--server: 'a b:1' is not an address"),
        (["--api-key", ""], "--api-key: must not be empty"),
        (["--api-key", "sk_live_1\n"], "--api-key: an api_key is a str of printable ASCII characters"),
        (["--tls-ca", "/nowhere/ca.pem"], "--tls-ca: /nowhere/ca.pem: No such file or directory"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(run: CommandLine, options: Sequence[str], message: str) -> None:
    refused = run("users", "list", *options)
    assert (refused.status, refused.stdout) == (ERROR, "")
    [line] = refused.stderr.splitlines()
    assert line.startswith(f"canuse: {message}")


def test_a_variable_that_is_empty_counts_as_not_set(run: CommandLine) -> None:
    assert run("users", "list", "--server", run.address, CANUSE_API_KEY="", CANUSE_CLIENT_TLS_CA="").status == 0


@pytest.mark.parametrize("time_given", ["tomorrow", "2026-07-01T00:00:00", ""])
def test_a_time_that_is_none_or_has_no_zone_is_refused_by_its_option(
    run: CommandLine, subscriber: Subscriber, time_given: str
) -> None:
    grant = ("grants", "create", subscriber.user, "g", subscriber.counted, "--amount", "1", "--expires-at", time_given)
    key = ("keys", "create", "k", "--scope", "usage:write", "--expires-at", time_given)
    for command in (grant, key):
        refused = run(*command)
        assert refused.status == ERROR
        [line] = refused.stderr.splitlines()
        assert line.startswith(f"canuse: --expires-at: '{time_given}' is not a time in ISO 8601 with a time zone")


def test_the_statuses_are_in_the_help(run: CommandLine) -> None:
    shown = " ".join(run("--help").stdout.split())
    for status in (UNEXPECTED, OUTPUT, INTERRUPTED):
        assert str(status) in shown
