"""How the command ends: its exit statuses, and what becomes of errors that no command expects."""

import os
import sys
import traceback
from typing import Any, Final, NoReturn, TextIO, cast

import typer

from canuse_server.runtime import standard_error

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


_UsageError: Final = typer.BadParameter.__mro__[1]
"""What Typer raises for options that can't be used; it has no name for it."""


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
    standard_error.install()
    if sys.stdout is None:
        # It was closed. Its number must not go to a connection; what can only be read can't be written.
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")  # noqa: SIM115 - open to the end
    # Names from the store have to come through where the terminal's encoding has no letters for them.
    cast("Any", sys.stdout).reconfigure(errors="backslashreplace")
    sys.stdout = cast("TextIO", _Output(sys.stdout))
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
    except OutputError as error:
        _forget_output()
        tell(f"the output can't be written: {error}; what the command has done stays done")
        sys.exit(EXIT_OUTPUT)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - whatever it is, 1 would mean no
        sys.exit(_told(error))
    sys.exit(status)


def _told(error: Exception) -> int:
    """Tell an error in one line and return the status that it ends with."""
    if isinstance(error, _UsageError):
        usage = cast("Any", error)
        words = " ".join(usage.format_message().split())
        if type(error).__name__ == "NoArgsIsHelpError":
            words = "a command is missing"
        tell(f"{words.removesuffix('.')}; {usage.ctx.command_path} --help tells more")
        return EXIT_ERROR
    if os.environ.get("CANUSE_DEBUG"):
        traceback.print_exc()
    words = " ".join(str(error).split())
    tell(f"unexpected {type(error).__name__}: {words}; with CANUSE_DEBUG=1 in the environment it shows where")
    return EXIT_UNEXPECTED


def _forget_output() -> None:
    """Let what is still in the buffer go nowhere: Python writes it at its end, and would fail again, with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(text: str) -> None:
    """Write a line to standard error."""
    typer.echo(f"canuse: {text}", err=True)
