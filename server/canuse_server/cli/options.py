"""What the commands that ask a running server share: their arguments and how they connect."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Final

import typer

import canuse
from canuse_server.cli.exit_status import EXIT_ERROR, tell
from canuse_server.cli.output import printable
from canuse_server.cli.tls import option_of, tls_wanted

DEFAULT_SERVER: Final = "127.0.0.1:50051"

User = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
Feature = Annotated[str, typer.Argument(metavar="FEATURE", help="The feature's id.")]
Package = Annotated[str, typer.Argument(metavar="PACKAGE", help="The package's id.")]
Server = Annotated[
    str, typer.Option("--server", envvar="CANUSE_SERVER", help="The server's address, host:port or unix:/path.")
]
ApiKey = Annotated[str | None, typer.Option("--api-key", envvar="CANUSE_API_KEY", help="The API key to send.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, with the field names of the API.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Show so many at most. Default: all.")]


_OPTIONS: Final = {
    "target": "--server",
    "api_key": "--api-key",
    "ca": "--tls-ca",
    "certificate": "--tls-certificate",
    "key": "--tls-key",
}
"""What the client's parameters are called here, where the command's own checks do not come first."""


class Refused(Exception):  # noqa: N818 - it is an answer to the user
    """Options that can't be used, in words."""


@contextmanager
def connected(server: str, api_key: str | None) -> Iterator[canuse.Client]:
    """Give a client for the calls of one command; whatever fails ends it with one readable line and status 2."""
    try:
        with _client(server, api_key) as client:
            yield client
    except (canuse.CanuseError, Refused) as error:
        tell(printable(_in_one_line(error, server)))
        raise typer.Exit(EXIT_ERROR) from None


def moment(option: str, text: str | None) -> datetime | None:
    """Return the time that an option names, None where it was not given; raises Refused where it is none."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.utcoffset() is None:
        raise Refused(f"{option}: {text!r} is no time in ISO 8601 with a time zone, such as 2026-07-01T00:00:00Z")
    return found


def _client(server: str, api_key: str | None) -> canuse.Client:
    if server and ":" not in server:
        raise Refused(f"--server: {server!r} has no port; accepted is host:port or unix:/path")
    if api_key == "":
        raise Refused("--api-key: it is empty; leave it out to send none")
    try:
        return canuse.Client(server, api_key=api_key, tls=tls_wanted())
    except canuse.CanuseError:
        raise
    except OSError as error:
        raise Refused(f"{option_of(error.filename)}{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(str(error)) from error


def _in_one_line(error: canuse.CanuseError | Refused, server: str) -> str:
    """Return what went wrong for a person to read."""
    told = " ".join(str(error).split())
    if isinstance(error, canuse.BadArgument):
        names = {violation.field for violation in error.violations}
        for name in names & _OPTIONS.keys():
            told = told.replace(f"{name}:", f"{_OPTIONS[name]}:", 1)
    elif isinstance(error, canuse.Unavailable) and not error.reason:
        return f"no answer from {server}: {told}"
    return told
