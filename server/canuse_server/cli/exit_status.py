"""How the command ends: its exit statuses, and what becomes of errors that no command expects."""

import os
import sys
import traceback
from contextlib import suppress
from typing import Any, Final, NoReturn, TextIO, cast

import typer

EXIT_NO: Final = 1
"""The answer is no, or nothing was recorded or granted; of `serve`: it could not start."""
EXIT_ERROR: Final = 2
"""The question could not be asked or was not answered."""
EXIT_UNEXPECTED: Final = 70
"""A fault of the command itself: `EX_SOFTWARE` of sysexits.h."""
EXIT_OUTPUT: Final = 74
"""The output could not be written, whatever the answer was: `EX_IOERR` of sysexits.h."""
EXIT_INTERRUPTED: Final = 130
"""Ctrl-C."""

EPILOG: Final = (
    "Exit status: 0 done or yes, 1 no, 2 an error, 70 an unexpected error (CANUSE_DEBUG=1 shows where), "
    "74 the output could not be written, 130 Ctrl-C."
)


class OutputError(Exception):
    """Standard output could not be written."""


class _Output:
    """Standard output whose failures are OutputErrors: Typer and Rich end with 1, a no, where a pipe is closed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        try:
            return self._stream.write(text)
        except OSError as error:
            raise OutputError(error.strerror) from error

    def flush(self) -> None:
        """Write what was kept back."""
        try:
            self._stream.flush()
        except OSError as error:
            raise OutputError(error.strerror) from error

    def __getattr__(self, name: str) -> Any:
        """Be the stream in everything else."""
        return getattr(self._stream, name)


def run(app: typer.Typer) -> NoReturn:
    """Run the command and exit: errors that no command expects are one line on standard error."""
    if sys.stdout is not None:
        # Names from the store have to come through where the terminal's encoding has no letters for them.
        cast("Any", sys.stdout).reconfigure(errors="backslashreplace")
        sys.stdout = cast("TextIO", _Output(sys.stdout))
    try:
        app()
    except OutputError as error:
        tell(f"the output can't be written: {error}; what the command has done stays done")
        sys.exit(EXIT_OUTPUT)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - whatever it is, 1 would mean no
        if os.environ.get("CANUSE_DEBUG"):
            traceback.print_exc()
        words = " ".join(str(error).split())
        tell(f"unexpected {type(error).__name__}: {words}; with CANUSE_DEBUG=1 in the environment it shows where")
        sys.exit(EXIT_UNEXPECTED)
    sys.exit(0)


def tell(text: str) -> None:
    """Write a line to standard error, if that can be written to."""
    with suppress(OSError):
        typer.echo(f"canuse: {text}", err=True)
