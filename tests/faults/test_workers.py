"""Several processes on one port: each answers, one that dies is replaced, and all end together."""

import os
import re
import signal
from pathlib import Path

import pytest

from canuse.errors import CanuseError, Unavailable
from support import fork_server
from support.load import OWN_CONNECTION, running, until, used, wait_until
from support.message_clients import Client
from support.processes import Canuse
from support.resources import subscriber, unique

CONNECTIONS = 16


def worker_pids(canuse: Canuse) -> list[int]:
    """Return the process ids of all workers so far, in the order in which they became ready."""
    return [int(pid) for pid in re.findall(r'"pid": (\d+)[^\n]*a worker is ready', canuse.log)]


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def connections(pid: int) -> int:
    """Return how many of the connections to a server one process holds."""
    return sum(os.readlink(link).startswith("socket:") for link in Path(f"/proc/{pid}/fd").iterdir())


def starting_workers(pid: int) -> int:
    """Return how many workers a server has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(b"workers.worker" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children)


def test_a_server_that_is_asked_to_end_while_its_workers_start_reports_no_errors(tmp_path: Path) -> None:
    canuse = Canuse(tmp_path, "--workers", "2").launch()
    until(lambda: starting_workers(canuse.pid) == 2)
    assert canuse.stop() == 0
    assert "Traceback" not in canuse.log


@pytest.mark.parametrize("transport", ["native", "grpcio"])
async def test_a_worker_that_dies_is_replaced_and_callers_see_only_unavailable(transport: str, tmp_path: Path) -> None:
    with running(Canuse(tmp_path, "--transport", transport, "--workers", "2")) as canuse:
        assert "workers 2" in canuse.ready_line
        first, second = worker_pids(canuse)
        before = connections(first), connections(second)
        clients = [Client(canuse.address, options=OWN_CONNECTION) for _ in range(CONNECTIONS)]
        user_id, feature_id = subscriber(clients[0], None)
        sent = {unique("event") for _ in range(4 * CONNECTIONS)}
        for number, event_id in enumerate(sent):
            assert clients[number % CONNECTIONS].use_feature(user_id, feature_id, event_id=event_id).access
        # The kernel distributes them by their ports: all sixteen in one process happens once in 32,768 runs.
        assert connections(first) > before[0]
        assert connections(second) > before[1]

        os.kill(first, signal.SIGKILL)
        faults: list[CanuseError] = []
        await wait_until(lambda: len(worker_pids(canuse)) == 3 and all_answer(clients, user_id, feature_id, faults))
        assert all(isinstance(fault, Unavailable) for fault in faults), faults
        assert not is_alive(first)
        # All workers count in the same store.
        with Client(canuse.address) as fresh:
            count = used(fresh, user_id, feature_id)
        assert {used(client, user_id, feature_id) for client in clients} == {count}
        for client in clients:
            client.close()
        third = worker_pids(canuse)[2]
    assert not any(map(is_alive, (second, third)))


def all_answer(clients: list[Client], user_id: str, feature_id: str, faults: list[CanuseError]) -> bool:
    """Whether every client gets an answer; other outcomes are added to `faults`."""
    before = len(faults)
    for client in clients:
        try:
            client.can_use(user_id, feature_id)
        except CanuseError as error:
            faults.append(error)
    return len(faults) == before


async def test_the_workers_of_a_killed_server_end(tmp_path: Path) -> None:
    with running(Canuse(tmp_path, "--workers", "2")) as canuse:
        pids = worker_pids(canuse)
        assert len(pids) == 2
        canuse.kill()
        await wait_until(lambda: not any(map(is_alive, pids)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--workers", "2", "--clock", "manual"), "workers must be 1 with the manual clock"),
        (("--workers", "0"), "workers"),
    ],
)
def test_what_can_not_be_is_refused(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    ended = fork_server.run("serve", "--data-dir", str(tmp_path / "data"), *options)
    assert ended.returncode == 1
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_not_shared(tmp_path: Path) -> None:
    with running(Canuse(tmp_path, "--workers", "2")) as canuse:
        other = tmp_path / "other"
        ended = fork_server.run("serve", "--workers", "2", "--data-dir", str(other), "--listen", canuse.address)
        assert ended.returncode == 1
        assert f"can't listen on {canuse.address}" in ended.stderr
