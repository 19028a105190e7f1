"""Standard error that fails nobody: while it is closed, or its disk full, what is written to it is lost."""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast


class _StandardError:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, if that can be written."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what was kept back."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Be the stream in everything else."""
        return getattr(self._stream, name)


def install() -> None:
    """Make `sys.stderr` such a one: a log that can't be written ends no server, and changes no exit status."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open to the end
    sys.stderr = cast("TextIO", _StandardError(sys.stderr))
