"""What is recorded when a process ends: by itself, by SIGTERM, by `kill -9`; and what a fork inherits."""

import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.load import MAX_WAIT_SECONDS, until
from support.message_clients import Client
from support.processes import Canuse
from support.resources import subscriber

PROGRAM = Path(__file__).parent / "using.py"
BUDGET = 1_000_000
KINDS = ["sync", "async"]


class Caller:
    """The program, and what it was allowed to use."""

    def __init__(self, server: Canuse, plain: Client, folder: Path, mode: str, kind: str) -> None:
        self.names = subscriber(plain, BUDGET)
        self.plain = plain
        self.path = folder / "allowed"
        self.path.write_bytes(bytes(8))
        command = [sys.executable, "-W", "ignore", str(PROGRAM), server.address, *self.names, str(self.path), mode]
        self.process = subprocess.Popen([*command, kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        assert self.process.stdout.readline() == "local\n", self.process.communicate()[1]

    @property
    def allowed(self) -> int:
        """Units that it was allowed to use."""
        return int(struct.unpack("<q", self.path.read_bytes())[0])

    def counts(self) -> tuple[int, int]:
        """Return used and reserved."""
        current = self.plain.show_usage(*self.names).current
        return current.used, current.reserved

    def use_some(self) -> None:
        """Wait until it has gone on for some time."""
        before = self.allowed
        until(lambda: self.allowed > before + 200)

    def ended(self) -> tuple[int, str]:
        """Wait until it has ended; return its exit status and what it wrote to stderr."""
        _, errors = self.process.communicate(timeout=MAX_WAIT_SECONDS)
        return self.process.returncode, errors


@contextmanager
def calling(server: Canuse, plain: Client, folder: Path, mode: str, kind: str) -> Iterator[Caller]:
    """Run the program."""
    caller = Caller(server, plain, folder, mode, kind)
    try:
        yield caller
    finally:
        caller.process.kill()
        caller.process.communicate()


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_the_process_settles(server: Canuse, plain: Client, tmp_path: Path, kind: str) -> None:
    with calling(server, plain, tmp_path, "exit", kind) as caller:
        assert caller.ended() == (0, "")
        assert caller.counts() == (500, 0)
        assert caller.allowed == 500


@pytest.mark.parametrize("kind", KINDS)
def test_sigterm_settles_and_ends_the_process_by_the_signal(
    server: Canuse, plain: Client, tmp_path: Path, kind: str
) -> None:
    with calling(server, plain, tmp_path, "loop", kind) as caller:
        caller.use_some()
        caller.process.send_signal(signal.SIGTERM)
        assert caller.ended() == (-signal.SIGTERM, "")
        used, reserved = caller.counts()
        # It may have been ended after a call and before it counted the answer.
        assert caller.allowed <= used <= caller.allowed + 1
        assert reserved == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_of_the_program_for_sigterm_is_called(
    server: Canuse, plain: Client, tmp_path: Path, kind: str
) -> None:
    with calling(server, plain, tmp_path, "handler", kind) as caller:
        caller.use_some()
        caller.process.send_signal(signal.SIGTERM)
        assert caller.ended() == (7, "")
        used, reserved = caller.counts()
        assert caller.allowed <= used <= caller.allowed + 1
        assert reserved == 0


def test_a_program_that_goes_on_after_sigterm_has_given_its_leases_back(
    server: Canuse, plain: Client, tmp_path: Path
) -> None:
    with calling(server, plain, tmp_path, "ignore", "sync") as caller:
        caller.process.send_signal(signal.SIGTERM)
        assert caller.process.stdout
        assert caller.process.stdout.readline() == "told to end\n"
        until(lambda: caller.counts()[1] == 0)
        caller.use_some()
        assert caller.counts()[1] == 0
        caller.process.kill()
        caller.ended()
        used, _ = caller.counts()
        assert caller.allowed <= used <= caller.allowed + 1


def test_without_the_handler_sigterm_ends_the_process_at_once(server: Canuse, plain: Client, tmp_path: Path) -> None:
    with calling(server, plain, tmp_path, "off", "sync") as caller:
        caller.process.send_signal(signal.SIGTERM)
        assert caller.ended()[0] == -signal.SIGTERM
        assert caller.counts()[0] <= caller.allowed + 1


@pytest.mark.parametrize("kind", KINDS)
def test_after_kill_nine_the_rest_comes_back_and_only_the_last_report_is_missing(
    server: Canuse, plain: Client, tmp_path: Path, kind: str
) -> None:
    with calling(server, plain, tmp_path, "loop", kind) as caller:
        until(lambda: caller.counts()[0] > 100)
        caller.use_some()
        reported = caller.counts()[0]
        caller.process.kill()
        caller.ended()
        used, reserved = caller.counts()
        assert reported <= used <= caller.allowed + 1
        assert caller.allowed - used <= reserved, "what it was allowed was not reserved until then"
        until(lambda: caller.counts()[1] == 0)
        # Nothing above the budget but what the process had not reported.
        rest = BUDGET - used
        assert plain.use_feature(*caller.names, rest).access
        assert not plain.use_feature(*caller.names).access


FORKING = """
import os, sys, time
import canuse

address, user_id, feature_id = sys.argv[1:]
client = canuse.Client(address, timeout_seconds=20, leases={feature_id: canuse.Lease(report_seconds=0.05)})

def use(times):
    return sum(bool(client.use_feature(user_id, feature_id)) for _ in range(times))

yes = use(500)
while not client.use_feature(user_id, feature_id).local:
    yes += 1
yes += 1
workers = []
for number in range(4):
    yes += use(100)
    if not (pid := os.fork()):
        assert client.leases() == canuse.HeldLeases(), client.leases()
        assert not client.use_feature(user_id, feature_id).local
        assert use(299) == 299
        assert client.leases().held
        sys.exit(0)
    workers.append(pid)
for pid in workers:
    assert os.waitpid(pid, 0)[1] == 0
yes += use(100)
sys.stdout.write(f"{yes + 4 * 300}")
"""


def check_program(plain: Client, names: tuple[str, str], *arguments: str) -> None:
    """Check that a program ends well, and that what it prints is what was used of a feature; nothing is reserved."""
    completed = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    current = plain.show_usage(*names).current
    assert (current.used, current.reserved) == (int(completed.stdout), 0)


def test_a_forked_process_has_leases_of_its_own(server: Canuse, plain: Client) -> None:
    names = subscriber(plain, BUDGET)
    check_program(plain, names, "-c", FORKING, server.address, *names)


IN_A_POOL = """
import multiprocessing, sys
import canuse

address, user_id, feature_id, method, made = sys.argv[1:]

def make():
    return canuse.Client(address, timeout_seconds=20, leases={feature_id: canuse.Lease(report_seconds=10)})

inherited = make() if made == "before" else None

def use(_):
    client = inherited or make()
    yes = sum(bool(client.use_feature(user_id, feature_id)) for _ in range(500))
    while not client.use_feature(user_id, feature_id).local:
        yes += 1
    return yes + 1

if __name__ == "__main__":
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        allowed = sum(pool.map(use, range(2), chunksize=1))
        pool.close()
        pool.join()
    sys.stdout.write(str(allowed))
"""


@pytest.mark.parametrize(("method", "made"), [("fork", "before"), ("fork", "after"), ("spawn", "after")])
def test_the_end_of_a_process_of_multiprocessing_settles(
    server: Canuse, plain: Client, tmp_path: Path, method: str, made: str
) -> None:
    names = subscriber(plain, BUDGET)
    program = tmp_path / "pool.py"
    program.write_text(IN_A_POOL)
    check_program(plain, names, str(program), server.address, *names, method, made)


CHAINED = """
import os, signal, sys, time
import canuse

address, user_id, feature_id = sys.argv[1:]

def make():
    return canuse.Client(address, leases={feature_id: canuse.Lease()})

def handle(number, frame):
    sys.stdout.write("handled ")
    before(number, frame)

first = make()
before = signal.signal(signal.SIGTERM, handle)
second = make()
while not first.use_feature(user_id, feature_id).local:
    pass
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""


def test_a_handler_that_calls_the_one_before_it_is_called_once(server: Canuse, plain: Client) -> None:
    names = subscriber(plain, BUDGET)
    completed = subprocess.run(
        [sys.executable, "-W", "ignore", "-u", "-c", CHAINED, server.address, *names],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (completed.returncode, completed.stderr) == (-signal.SIGTERM, "")
    # The signal comes again when everything is settled.
    assert completed.stdout == "handled handled "
    assert plain.show_usage(*names).current.reserved == 0
