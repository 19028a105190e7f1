"""Disks to break: a small one, and one whose power can be cut. They need root."""

import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from support.tools import require_disks

# FS_IOC_SHUTDOWN of Linux: nothing more reaches the disk, and the journal is not flushed.
SHUT_DOWN: Final = 0x8004587D
WITHOUT_FLUSHING: Final = struct.pack("I", 2)
BUSY_SECONDS: Final = 20


class PowerCutDisk:
    """A file system in a file. After `cut` it has what was synced (fsync) before, and little else."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        require_disks()
        self.path = folder / "disk"
        self._image = folder / "disk.img"
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self._mount()

    def cut(self) -> None:
        """Cut the power."""
        disk = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(disk, SHUT_DOWN, WITHOUT_FLUSHING)
        finally:
            os.close(disk)

    def power_up(self) -> None:
        """Mount it again; no file on it may be open."""
        until = time.monotonic() + BUSY_SECONDS
        while True:
            self.close()
            self._mount()
            if self._is_on():
                return
            # A process that just got a copy of the mounts still holds the file system without power.
            assert time.monotonic() < until, f"{self.path} stays without power"
            time.sleep(0.05)

    def close(self) -> None:
        """Unmount it, as soon as nothing uses it."""
        until = time.monotonic() + BUSY_SECONDS
        while subprocess.run(("umount", str(self.path)), check=False, capture_output=True).returncode:
            assert time.monotonic() < until, f"{self.path} stays busy"
            time.sleep(0.05)

    def _is_on(self) -> bool:
        probe = self.path / "probe"
        try:
            probe.touch()
            probe.unlink()
        except OSError:
            return False
        return True

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.path))


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a disk with little room."""
    require_disks()
    path = folder / "small"
    path.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path))
    try:
        yield path
    finally:
        _run("umount", str(path))


@contextmanager
def filled(disk: Path, leave_bytes: int) -> Iterator[None]:
    """Fill a disk except for so many bytes."""
    filler = disk / "filler"
    there = os.statvfs(disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, there.f_bavail * there.f_bsize - leave_bytes)
    try:
        yield
    finally:
        filler.unlink()


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
