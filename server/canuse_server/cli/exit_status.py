"""Exit statuses, and the handling of unexpected errors."""

import os
import sys
import traceback
from typing import Any, Final, NoReturn, TextIO, cast

import typer

from canuse_server.cli.usage_errors import in_one_line
from canuse_server.runtime import interrupts, standard_error
from canuse_server.runtime.interrupts import EXIT_INTERRUPTED

EXIT_NO: Final = 1
"""The answer is no, or nothing was recorded or granted. For `serve`: the server could not start."""
EXIT_ERROR: Final = 2
"""Invalid options, no answer, or an error from the server."""
EXIT_SHRINKS: Final = 3
"""For `catalog plan` and `catalog apply`: users would lose access."""
EXIT_UNEXPECTED: Final = 70
"""A bug in the command: `EX_SOFTWARE` of sysexits.h."""
EXIT_OUTPUT: Final = 74
"""The output could not be written, whatever the answer is: `EX_IOERR` of sysexits.h."""

EPILOG: Final = (
    "Exit status: 0 done or yes, 1 no, 2 an error, 3 users would lose access (catalog), "
    "70 an unexpected error (CANUSE_DEBUG=1 shows the traceback), 74 the output could not be written, 130 Ctrl-C."
)


_UsageError: Final = typer.BadParameter.__mro__[1]
"""What Typer raises for invalid options. It does not export the class."""


class OutputError(Exception):
    """Standard output could not be written."""


class _Output:
    """Standard output that raises OutputError: on a closed pipe Typer and Rich exit with 1, which means no."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        try:
            return self._stream.write(text)
        except OSError as error:
            raise OutputError(error.strerror) from error

    def flush(self) -> None:
        """Write the buffered text."""
        try:
            self._stream.flush()
        except OSError as error:
            raise OutputError(error.strerror) from error

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream."""
        return getattr(self._stream, name)


def run(app: typer.Typer) -> NoReturn:
    """Run the command and exit. An unexpected error is one line on standard error."""
    try:
        try:
            interrupts.raise_exception()
            status = _status_of(app)
        finally:
            interrupts.end_at_once()
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    sys.exit(status)


def _status_of(app: typer.Typer) -> Any:
    """Run the command and return its exit status."""
    standard_error.install()
    if sys.stdout is None:
        # It is closed. The file takes its number, which a connection must not get, and refuses to be written.
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")  # noqa: SIM115 - open to the end
    # Names may contain characters that the terminal's encoding lacks.
    cast("Any", sys.stdout).reconfigure(errors="backslashreplace")
    sys.stdout = cast("TextIO", _Output(sys.stdout))
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
    except OutputError as error:
        _discard_output()
        tell(f"cannot write the output: {error}; the command's effect is not undone")
        return EXIT_OUTPUT
    except typer.Abort:
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - status 1, Python's own, would mean no
        return _report(error)
    return status


def _report(error: Exception) -> int:
    """Write an error in one line to standard error and return the exit status."""
    if isinstance(error, _UsageError):
        tell(in_one_line(error))
        return EXIT_ERROR
    if os.environ.get("CANUSE_DEBUG"):
        traceback.print_exc()
    message = " ".join(str(error).split())
    tell(f"unexpected {type(error).__name__}: {message}; set CANUSE_DEBUG=1 in the environment to see the traceback")
    return EXIT_UNEXPECTED


def _discard_output() -> None:
    """Discard what is still buffered: at exit Python would try to write it, fail again, and exit with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(text: str) -> None:
    """Write a line to standard error."""
    typer.echo(f"canuse: {text}", err=True)
