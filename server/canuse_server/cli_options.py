"""What the commands that ask a running server share: their arguments, their exit statuses and how they connect."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer

import canuse
from canuse_server.cli_output import printable
from canuse_server.cli_tls import tls_wanted

EXIT_NO: Final = 1
EXIT_ERROR: Final = 2
DEFAULT_SERVER: Final = "127.0.0.1:50051"

User = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
Feature = Annotated[str, typer.Argument(metavar="FEATURE", help="The feature's id.")]
Package = Annotated[str, typer.Argument(metavar="PACKAGE", help="The package's id.")]
Server = Annotated[str, typer.Option("--server", envvar="CANUSE_SERVER", help="The server's address, host:port.")]
ApiKey = Annotated[str | None, typer.Option("--api-key", envvar="CANUSE_API_KEY", help="The API key to send.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, with the field names of the API.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Show so many at most. Default: all.")]


@contextmanager
def connected(server: str, api_key: str | None) -> Iterator[canuse.Client]:
    """Give a client for the calls of one command; whatever fails ends it with one readable line and status 2."""
    try:
        with _client(server, api_key) as client:
            yield client
    except (canuse.CanuseError, ValueError) as error:
        typer.echo(f"canuse: {printable(_in_one_line(error, server))}", err=True)
        raise typer.Exit(EXIT_ERROR) from None


def _client(server: str, api_key: str | None) -> canuse.Client:
    try:
        return canuse.Client(server, api_key=api_key, tls=tls_wanted())
    except OSError as error:
        raise ValueError(f"{error.filename}: {error.strerror}") from error


def _in_one_line(error: canuse.CanuseError | ValueError, server: str) -> str:
    """Return what went wrong for a person to read."""
    told = " ".join(str(error).split())
    if isinstance(error, canuse.Unavailable) and not error.reason:
        return f"no answer from {server}: {told}"
    # A ValueError is an argument that a request can't even hold, such as a number beyond 64 bits.
    return told if isinstance(error, canuse.CanuseError) else f"can't be sent: {told}"
