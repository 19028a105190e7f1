"""The command for probes: is the server ready?"""

from typing import Annotated, Final

import typer

from canuse_server.cli.exit_status import EXIT_NO
from canuse_server.cli.operations.ops_port import DEFAULT, NoAnswer, Ops, get, reported
from canuse_server.cli.output import printable

READY: Final = 200
NOT_READY: Final = 503


def health(
    ops: Ops = DEFAULT,
    *,
    live: Annotated[
        bool, typer.Option("--live", help="Only ask whether the process answers, whatever its store does.")
    ] = False,
) -> None:
    """Ask a server whether it is ready. Exit status 0: yes, 1: no, 2: no answer."""
    path = "/livez" if live else "/readyz"
    with reported():
        status, text = get(ops, path)
        if status not in (READY, NOT_READY):
            raise NoAnswer(f"{ops} answers {path} with status {status}: is that the ops_listen of a canuse server?")
    typer.echo(printable(text.strip()))
    if status == NOT_READY:
        raise typer.Exit(EXIT_NO)
