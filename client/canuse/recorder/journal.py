"""The journal: accepted events that are not in the database yet, one line each, in files of a folder.

A line is written to the file before its event is accepted. What a process has written to a file stays when the process
is killed, so that no accepted event is lost.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from canuse.recorder.events import Event

_PATTERN: Final = "incoming-*.log"


class Journal:
    """Appends to one file at a time. Not for several threads at once."""

    def __init__(self, folder: Path, *, fsync: bool) -> None:
        """Start a new file. With `fsync`, each line is on disk before `append` returns, which a power cut survives."""
        self._folder = folder
        self._fsync = fsync
        self._number = max((int(path.stem.rpartition("-")[2]) for path in folder.glob(_PATTERN)), default=0)
        self._size = 0
        self._file = self._open()

    def append(self, line: bytes) -> None:
        """Write a line; raise OSError, and leave no part of it, if that is not possible."""
        try:
            if os.write(self._file, line) != len(line):
                raise OSError("the disk is full")
            if self._fsync:
                os.fdatasync(self._file) if hasattr(os, "fdatasync") else os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)

    def rotate(self) -> None:
        """Finish the file, and start a new one."""
        if self._size:
            os.close(self._file)
            self._file = self._open()
            self._size = 0

    def finished(self) -> list[Path]:
        """Return the files to which nothing is appended any more, oldest first."""
        current = self._path()
        return sorted(path for path in self._folder.glob(_PATTERN) if path != current)

    def close(self) -> None:
        """Close the file. It is finished for the next journal of the folder."""
        os.close(self._file)

    def _path(self) -> Path:
        return self._folder / f"incoming-{self._number:020}.log"

    def _open(self) -> int:
        self._number += 1
        return os.open(self._path(), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def events_in(path: Path) -> Iterator[Event]:
    """Yield the events of a file. After a power cut, the last line may not be there to its end."""
    with path.open("rb") as file:
        yield from (event for event in map(Event.from_line, file) if event is not None)
