"""Locks of the data directory: one canuse at a time, and only after the Valkey of an earlier one has ended."""

import asyncio
import errno
import fcntl
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import structlog

HANDOVER_SECONDS = 10.0  # how long the Valkey of a killed canuse may take to flush and end
ANSWER_SECONDS = 1.0
SOCKET_PATH_BYTES = 100  # AF_UNIX takes 108 on Linux and 104 on macOS, with the closing zero

CANUSE_LOCK = "canuse.lock"
VALKEY_LOCK = "valkey.lock"

log = structlog.get_logger(__name__)


class DataDirInUse(RuntimeError):  # noqa: N818  it reads as a statement
    """Another canuse, or the Valkey of a killed one, uses the data directory. The data was not touched."""


async def ask(socket_path: Path, command: bytes) -> bytes:
    """Send a command without arguments; return the first line of the reply, b"" if there is none in ANSWER_SECONDS."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(socket_path)
            try:
                writer.write(command + b"\r\n")
                return (await reader.readline()).rstrip()
            finally:
                writer.close()
                await writer.wait_closed()
    except OSError:  # includes TimeoutError
        return b""


def running_socket(data_dir: Path) -> Path | None:
    """Return the socket of the Valkey that a canuse runs on a data directory, or None if there is no such socket."""
    with suppress(OSError, IndexError):
        path = Path((data_dir / VALKEY_LOCK).read_text().splitlines()[1])
        if path.is_socket():
            return path
    return None


def choose_socket(data_dir: Path) -> Path:
    """Return the path of Valkey's socket: in the data directory, or in a new private one if that path is too long.

    Raises OSError (ENAMETOOLONG) if the path of the private directory is too long as well.
    """
    inside = data_dir / "valkey.sock"
    if len(os.fsencode(inside)) <= SOCKET_PATH_BYTES:
        return inside
    private = Path(tempfile.mkdtemp(prefix="canuse-valkey-")) / "valkey.sock"
    if len(os.fsencode(private)) > SOCKET_PATH_BYTES:
        discard_socket(private, data_dir)
        raise OSError(errno.ENAMETOOLONG, f"no room for a socket: {inside} and {private} are both too long")
    return private


def discard_socket(socket_path: Path, data_dir: Path) -> None:
    """Remove the private directory of a socket, if there is one.

    Use it only for the caller's own socket: the recorded path of an earlier canuse can be copied data, and name the
    socket of a canuse that still runs.
    """
    if socket_path.parent != data_dir:
        with suppress(OSError):
            socket_path.unlink(missing_ok=True)
            socket_path.parent.rmdir()


class _LockFile:
    """An flock on a file whose text names the holder. The kernel releases it with the last process that shares it."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def take(self) -> bool:
        """Lock the file; return False at once if another process has locked it."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def read(self) -> str:
        """Return the text of the holder."""
        return os.fsdecode(os.pread(self.fd, 4096, 0))

    def write(self, holder: str) -> None:
        """Replace the text."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, os.fsencode(holder), 0)

    def close(self) -> None:
        """Release the lock, even if a forked process has a copy of the descriptor."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        os.close(self.fd)


class DataDir:
    """A data directory and its two locks: `take` them, start Valkey with `inherited_fd`, `release` them at the end.

    Only canuse holds `canuse.lock`, so the lock shows whether a canuse runs; the pid in the file is for people, since
    pids are reused and differ between containers. Valkey inherits the descriptor of `valkey.lock`, which stays locked
    until both have ended, so that the Valkey of a killed canuse can finish writing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._canuse: _LockFile | None = None
        self._valkey: _LockFile | None = None

    async def take(self) -> None:
        """Create the directory if it is missing, accessible to its owner only, and lock it.

        Raises DataDirInUse at once if another canuse uses it, and after HANDOVER_SECONDS if the Valkey of a killed one
        does; OSError if the directory cannot be created or written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path)) from error
        canuse = _LockFile(self.path / CANUSE_LOCK)
        if not canuse.take():
            pid = canuse.read()
            canuse.close()
            raise DataDirInUse(
                f"the data directory {self.path} is in use by another canuse (pid {pid}): "
                "stop that one first, or give this one a directory of its own"
            )
        self._canuse = canuse
        try:
            canuse.write(str(os.getpid()))
            self._valkey = _LockFile(self.path / VALKEY_LOCK)
            await self._wait_for_previous(self._valkey)
        except BaseException:
            self.release()
            raise

    @property
    def inherited_fd(self) -> int:
        """The descriptor that Valkey inherits; raises RuntimeError unless the locks are held."""
        if self._valkey is None:
            raise RuntimeError(f"the data directory {self.path} is not locked")
        return self._valkey.fd

    def record(self, pid: int, socket_path: Path) -> None:
        """Record the running Valkey, for a canuse that takes over after this one was killed."""
        if self._valkey is not None:
            self._valkey.write(f"{pid}\n{socket_path}")

    def release(self) -> None:
        """Release the locks. Valkey must have ended."""
        if self._valkey is not None:
            self._valkey.close()
        if self._canuse is not None:
            self._canuse.close()
        self._valkey = self._canuse = None

    async def _wait_for_previous(self, valkey: _LockFile) -> None:
        """Wait until the Valkey of a canuse that was killed has ended."""
        deadline = time.monotonic() + HANDOVER_SECONDS
        waiting = False
        while not valkey.take():
            pid, _, socket_path = valkey.read().partition("\n")
            if not waiting:
                log.info("waiting for the Valkey of a canuse that was killed", data_dir=str(self.path), pid=pid)
            waiting = True
            if time.monotonic() > deadline:
                raise DataDirInUse(
                    f"the data directory {self.path} is still in use by a Valkey (pid {pid}) whose canuse was killed, "
                    f"and which did not end within {HANDOVER_SECONDS:.0f} s"
                )
            # On Linux the kernel has already sent it a signal; macOS has no such signal.
            await ask(Path(socket_path), b"SHUTDOWN")
            await asyncio.sleep(0.1)
