"""Standard error that never fails: while it is closed or its disk is full, output is lost."""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast


class _StandardError:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or lose it."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if that is possible."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the stream."""
        return getattr(self._stream, name)


def install() -> None:
    """Replace `sys.stderr`, so that a failing log neither ends the server nor changes an exit status."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
    sys.stderr = cast("TextIO", _StandardError(sys.stderr))
