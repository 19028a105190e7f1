"""The embedded Valkey keeps what it acknowledged, whichever process dies, and is alone on its data."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from canuse_server.runtime import child
from canuse_server.store.embedded.process import SETTINGS
from canuse_server.store.embedded.supervisor import DataDirInUse, EmbeddedStartError, EmbeddedValkey

# Another process with an EmbeddedValkey, to be killed. With "orphan" its Valkey survives it, as on macOS.
CANUSE = """
import asyncio, pathlib, sys
from canuse_server.store.embedded import process
from canuse_server.store.embedded.supervisor import EmbeddedValkey

async def main() -> None:
    valkey = EmbeddedValkey(pathlib.Path(sys.argv[1]), fsync="always")
    await valkey.start()
    print("started", valkey.pid, valkey.socket_path, flush=True)
    await asyncio.sleep(600)

if "orphan" in sys.argv:
    process.sys = type("Elsewhere", (), {"platform": "darwin"})
asyncio.run(main())
"""


@dataclass
class AnotherCanuse:
    """CANUSE in a separate process."""

    process: subprocess.Popen[str]
    valkey_pid: int
    socket_path: Path

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone; its Valkey may survive."""
        self.process.kill()
        self.process.wait()


@contextmanager
def another_canuse(data_dir: Path, *options: str) -> Iterator[AnotherCanuse]:
    """Run CANUSE until its Valkey is up; both have ended afterwards."""
    command = [sys.executable, "-c", CANUSE, str(data_dir), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("started "))
        _, valkey_pid, socket_path = line.rstrip().split(" ", 2)
        canuse = AnotherCanuse(process, int(valkey_pid), Path(socket_path))
        try:
            yield canuse
        finally:
            canuse.kill()
            if accepts(canuse.socket_path):
                os.kill(canuse.valkey_pid, signal.SIGKILL)


@asynccontextmanager
async def started(data_dir: Path) -> AsyncIterator[EmbeddedValkey]:
    """An EmbeddedValkey that loses nothing, stopped afterwards."""
    valkey = EmbeddedValkey(data_dir, fsync="always")
    await valkey.start()
    try:
        yield valkey
    finally:
        await valkey.stop()


@asynccontextmanager
async def client(socket_path: Path) -> AsyncIterator[Redis]:
    async with Redis(unix_socket_path=str(socket_path), decode_responses=True) as redis:
        yield redis


async def value(valkey: EmbeddedValkey) -> str | None:
    """Return the value of the key `used`."""
    async with client(valkey.socket_path) as redis:
        found = await redis.get("used")
        assert found is None or isinstance(found, str)
        return found


async def write(socket_path: Path, used: str) -> None:
    async with client(socket_path) as redis:
        await redis.set("used", used)


def accepts(socket_path: Path) -> bool:
    """Whether a Valkey listens: a zombie, which still has its pid, does not."""
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(socket_path)) == 0


def valkey_left_behind(data_dir: Path) -> bool:
    """Whether there is a socket, which a Valkey removes when it shuts down."""
    return (data_dir / "valkey.sock").exists()


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for `condition`, and fail if it doesn't come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def test_data_survive_a_stop_and_a_start(tmp_path: Path) -> None:
    data_dir = tmp_path / "made" / "on demand"
    async with started(data_dir) as valkey:
        await write(valkey.socket_path, "7")
        assert data_dir.stat().st_mode & 0o777 == 0o700
        assert valkey.socket_path.stat().st_mode & 0o777 == 0o700
    assert not valkey_left_behind(data_dir)
    async with started(data_dir) as valkey:
        assert await value(valkey) == "7"


async def test_a_stop_writes_out_what_the_last_second_brought(tmp_path: Path) -> None:
    valkey = EmbeddedValkey(tmp_path)  # everysec
    for used in ("1", "2"):
        await valkey.start()
        await write(valkey.socket_path, used)
        await valkey.stop()
    async with started(tmp_path) as again:
        assert await value(again) == "2"


async def test_it_runs_with_the_settings_that_the_store_counts_on(tmp_path: Path) -> None:
    expected = {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "lazyfree-lazy-expire": "yes",
        "lazyfree-lazy-server-del": "yes",
        "hash-max-listpack-value": "64",
        "hash-max-listpack-entries": "128",
        "aof-load-truncated": "yes",
        "daemonize": "no",
        "protected-mode": "yes",
        "dir": str(tmp_path),
        "logfile": str(tmp_path / "valkey.log"),
    }
    async with started(tmp_path) as valkey, client(valkey.socket_path) as redis:
        assert {name: found for name, found in (await redis.config_get("*")).items() if name in expected} == expected


async def test_a_valkey_that_is_killed_comes_back_with_every_acknowledged_write(tmp_path: Path) -> None:
    async with started(tmp_path) as valkey:
        killed, socket_path = valkey.pid, valkey.socket_path
        await write(socket_path, "7")
        os.kill(killed, signal.SIGKILL)
        await until(lambda: valkey.pid != killed)
        assert valkey.socket_path == socket_path
        assert await value(valkey) == "7"


async def test_a_valkey_that_keeps_dying_is_started_after_growing_delays(tmp_path: Path) -> None:
    async with started(tmp_path) as valkey:
        with capture_logs() as logs:
            for _ in range(3):
                killed = valkey.pid
                os.kill(killed, signal.SIGKILL)
                await until(lambda killed=killed: valkey.pid != killed)  # type: ignore[misc]
    down = [entry for entry in logs if entry["log_level"] == "error"]
    assert [entry["delay_seconds"] for entry in down] == [0.0, 0.1, 0.2]
    assert down[0]["reason"] == "it was killed by signal 9 (Killed)"
    assert down[0]["event"] == "Valkey is down and is being restarted"


async def test_a_restart_that_fails_is_repeated_until_it_works(tmp_path: Path) -> None:
    manifest = tmp_path / "appendonlydir" / "appendonly.aof.manifest"
    async with started(tmp_path) as valkey:
        await write(valkey.socket_path, "7")
        killed, good = valkey.pid, manifest.read_text()
        with capture_logs() as logs:
            manifest.write_text("no manifest\n")
            os.kill(killed, signal.SIGKILL)
            await until(lambda: any("manifest" in str(entry.get("reason")) for entry in logs))
            manifest.write_text(good)
            await until(lambda: valkey.pid != killed)
        assert await value(valkey) == "7"


@pytest.mark.skipif(sys.platform != "linux", reason="no other kernel tells a child of its parent's death")
async def test_valkey_ends_when_its_canuse_is_killed(tmp_path: Path) -> None:
    with another_canuse(tmp_path) as canuse:
        await write(canuse.socket_path, "7")
        canuse.kill()
        await until(lambda: not accepts(canuse.socket_path))
    async with started(tmp_path) as valkey:
        assert await value(valkey) == "7"


async def test_a_new_canuse_ends_the_valkey_that_outlived_the_last_one(tmp_path: Path) -> None:
    with another_canuse(tmp_path, "orphan") as canuse:
        await write(canuse.socket_path, "7")
        canuse.kill()
        await asyncio.sleep(0.2)
        assert accepts(canuse.socket_path)
        async with started(tmp_path) as valkey:
            assert valkey.pid != canuse.valkey_pid
            assert await value(valkey) == "7"


async def test_a_new_canuse_waits_while_the_valkey_of_a_killed_one_still_writes(tmp_path: Path) -> None:
    with another_canuse(tmp_path) as canuse:
        await write(canuse.socket_path, "7")
        os.kill(canuse.valkey_pid, signal.SIGSTOP)
        canuse.kill()
        valkey = EmbeddedValkey(tmp_path)
        start = asyncio.create_task(valkey.start())
        await asyncio.sleep(1.5)
        waits = not start.done()
        os.kill(canuse.valkey_pid, signal.SIGCONT)
        await start
        assert await value(valkey) == "7"
        await valkey.stop()
        assert waits


async def test_a_valkey_that_does_not_end_is_reported_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("canuse_server.store.embedded.data_dir.HANDOVER_SECONDS", 0.2)
    with another_canuse(tmp_path) as canuse:
        os.kill(canuse.valkey_pid, signal.SIGSTOP)
        canuse.kill()
        started_at = time.monotonic()
        with pytest.raises(DataDirInUse, match=rf"{tmp_path} .*pid {canuse.valkey_pid}\b"):
            await EmbeddedValkey(tmp_path).start()
        assert time.monotonic() - started_at < 4.0


def state_of(data_dir: Path) -> dict[Path, tuple[int, int]]:
    """Return when each file was last changed and its size."""
    return {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in data_dir.rglob("*")}


async def test_a_second_canuse_on_the_same_directory_is_refused_at_once(tmp_path: Path) -> None:
    with another_canuse(tmp_path) as canuse:
        await write(canuse.socket_path, "7")
        before, started_at = state_of(tmp_path), time.monotonic()
        with pytest.raises(DataDirInUse, match=rf"{tmp_path} .*pid {canuse.process.pid}\b"):
            await EmbeddedValkey(tmp_path).start()
        assert time.monotonic() - started_at < 0.5
        assert state_of(tmp_path) == before
        async with client(canuse.socket_path) as redis:
            assert await redis.get("used") == "7"
            assert (await redis.info("server"))["process_id"] == canuse.valkey_pid


async def test_a_process_forked_from_canuse_does_not_keep_the_directory(tmp_path: Path) -> None:
    async with started(tmp_path) as valkey:
        copy = os.dup(valkey._data_dir.inherited_fd)  # what a fork would hold
    async with started(tmp_path):
        os.close(copy)


@pytest.mark.skipif(sys.platform != "linux", reason="the trampoline is for Linux")
async def test_a_child_whose_parent_is_gone_already_does_not_start() -> None:
    not_the_parent = str(os.getppid())
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(child.__file__)), not_the_parent, "/bin/echo", "started", stdout=PIPE, stderr=PIPE
    )
    assert await process.communicate() == (b"", b"the parent died before its child was ready\n")
    assert process.returncode == 1


async def test_a_second_start_of_the_same_one_is_refused_and_breaks_nothing(tmp_path: Path) -> None:
    async with started(tmp_path) as valkey:
        with pytest.raises(DataDirInUse, match=str(os.getpid())):
            await valkey.start()
        await write(valkey.socket_path, "7")
        with pytest.raises(DataDirInUse):
            await EmbeddedValkey(tmp_path).start()


async def test_ctrl_c_in_the_terminal_does_not_reach_valkey(tmp_path: Path) -> None:
    async with started(tmp_path) as valkey:
        assert os.getpgid(valkey.pid) == valkey.pid
        assert os.getsid(valkey.pid) == valkey.pid


async def test_a_directory_with_too_long_a_path_for_a_socket_gets_it_elsewhere(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 30)
    async with started(data_dir) as valkey:
        private = valkey.socket_path.parent
        assert private.stat().st_mode & 0o777 == 0o700
        await write(valkey.socket_path, "7")
    assert not private.exists()
    async with started(data_dir) as valkey:
        assert await value(valkey) == "7"


async def test_a_copy_of_the_data_can_be_served_beside_the_original(tmp_path: Path) -> None:
    # The copied lock file names the running process: clearing up after it removed the original's socket.
    data_dir, copy = tmp_path / ("long" * 30), tmp_path / "copy"
    async with started(data_dir) as valkey:
        await write(valkey.socket_path, "7")
        shutil.copytree(data_dir, copy)
        async with started(copy) as beside:
            assert await value(beside) == "7"
        assert await value(valkey) == "7"


async def test_any_name_will_do_for_a_directory(tmp_path: Path) -> None:
    data_dir = tmp_path / '--we[i]rd "* \\ \N{SNOWMAN}\nname'
    async with started(data_dir) as valkey:
        await write(valkey.socket_path, "7")
        assert (data_dir / "appendonlydir").is_dir()
    async with started(data_dir) as valkey:
        assert await value(valkey) == "7"


async def test_a_directory_for_temporary_files_with_too_long_a_path_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = tmp_path / ("long" * 30)
    data_dir.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(data_dir))
    with pytest.raises(EmbeddedStartError, match="no room for a socket"):
        await EmbeddedValkey(data_dir).start()


async def test_a_file_as_the_data_directory_is_named_in_the_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a directory")
    with pytest.raises(EmbeddedStartError, match=f"data directory {file}: Not a directory"):
        await EmbeddedValkey(file).start()


@contextmanager
def without_right_to_write(directory: Path) -> Iterator[None]:
    """Make a folder read-only, as another user than root, who may write anywhere."""
    directory.chmod(0o500)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        directory.chmod(0o700)


async def test_an_unwritable_data_directory_is_named_in_the_error(tmp_path: Path) -> None:
    with (
        without_right_to_write(tmp_path),
        pytest.raises(EmbeddedStartError, match=f"data directory {tmp_path}: Permission denied"),
    ):
        await EmbeddedValkey(tmp_path).start()


async def test_a_valkey_that_cannot_start_says_why_and_frees_the_directory(tmp_path: Path) -> None:
    async with started(tmp_path):
        manifest = tmp_path / "appendonlydir" / "appendonly.aof.manifest"
    good = manifest.read_text()
    manifest.write_text("no manifest\n")
    with pytest.raises(EmbeddedStartError, match="ended with exit code 1") as failed:
        await EmbeddedValkey(tmp_path).start()
    assert "manifest" in str(failed.value)
    manifest.write_text(good)
    async with started(tmp_path):
        pass


async def test_a_valkey_that_will_not_answer_nor_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = tmp_path / "valkey-server"
    never = tmp_path / "never"
    os.mkfifo(never)
    deaf.write_text(f"#!/bin/sh\ntrap '' TERM\nread line < {never}\n")
    deaf.chmod(0o700)
    with monkeypatch.context() as patch:
        patch.setattr("canuse_server.store.embedded.process.get_binary_path", lambda: deaf)
        patch.setattr("canuse_server.store.embedded.process.STOP_SECONDS", 0.3)
        with pytest.raises(EmbeddedStartError, match=r"did not answer within 0.3 s"):
            await EmbeddedValkey(tmp_path, max_start_seconds=0.3).start()
    pid = int((tmp_path / "valkey.lock").read_text().splitlines()[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    async with started(tmp_path):
        pass


async def test_a_machine_without_a_valkey_is_named_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "abacus")
    with pytest.raises(EmbeddedStartError, match=r"no embedded Valkey for this machine: .*abacus"):
        await EmbeddedValkey(tmp_path).start()


async def fill(data_dir: Path, patch: pytest.MonkeyPatch) -> None:
    """Write 10,000 keys, which the next Valkeys take three seconds to load."""
    async with started(data_dir) as valkey, client(valkey.socket_path) as redis:
        await redis.eval("for i = 1, 10000 do redis.call('SET', i, i) end", 0)
    patch.setitem(SETTINGS, "key-load-delay", "300")  # microseconds


async def test_loading_much_data_is_no_failure_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(tmp_path, monkeypatch)
    patient = EmbeddedValkey(tmp_path, max_start_seconds=2)
    started_at = time.monotonic()
    await patient.start()
    assert time.monotonic() - started_at > 2
    async with client(patient.socket_path) as redis:
        assert await redis.dbsize() == 10000
    await patient.stop()


async def test_a_start_that_is_cancelled_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(tmp_path, monkeypatch)
    start = asyncio.create_task(EmbeddedValkey(tmp_path).start())
    await until(lambda: accepts(tmp_path / "valkey.sock"))
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not valkey_left_behind(tmp_path)


async def test_it_says_that_it_is_not_started(tmp_path: Path) -> None:
    valkey = EmbeddedValkey(tmp_path)
    with pytest.raises(RuntimeError, match="not started"):
        _ = valkey.socket_path
    with pytest.raises(RuntimeError, match="not started"):
        _ = valkey.pid
    await valkey.stop()
