"""The commands that keep the catalogue in a file: pull, plan, apply and schema."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import canuse
from canuse import v1
from canuse_server.cli import output as out
from canuse_server.cli.catalog.diff import print_plan, shrinking_summary
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.exit_status import EXIT_ERROR, EXIT_SHRINKS, tell
from canuse_server.cli.options import Json

if TYPE_CHECKING:
    from canuse_server.cli.catalog.convert import Request
    from canuse_server.cli.catalog.file import CatalogFile

catalog = typer.Typer(no_args_is_help=True, help="Keep features and packages in a YAML file.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="The YAML file.")]
ArchiveMissing = Annotated[
    bool, typer.Option("--archive-missing", help="Archive features and packages that the file does not name.")
]


@catalog.command("pull")
@with_connection
def pull(connection: Connection, file: File) -> None:
    """Write the catalogue of the server to a file.

    An existing file is changed where it differs; its comments stay. Archived items are written only if the file names
    them, or a package in it lists them.
    """
    # Imported in the commands that need them: it takes a third of a second.
    from canuse_server.cli.catalog.pull import pulled  # noqa: PLC0415

    with _problems(), connection.client() as client:
        done = pulled(client, file)
    typer.echo(f"{out.printable(str(file))}: {done}")


@catalog.command("plan")
@with_connection
def plan(
    connection: Connection,
    file: File,
    *,
    archive_missing: ArchiveMissing = False,
    users: Annotated[
        int, typer.Option(metavar="N", min=0, max=1000, help="Name the users of so many losses. Default: only count.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Show what `apply` would change, and how many users would lose access.

    Exit status 0: nobody would lose access, 3: users would.
    """
    with _problems(), connection.client() as client:
        planned = _apply(client, _read(file), archive_missing=archive_missing, dry_run=True, max_user_losses=users)
    _print(planned, as_json=as_json, done=False)
    if planned.access_losses:
        raise typer.Exit(EXIT_SHRINKS)


@catalog.command("apply")
@with_connection
def apply(
    connection: Connection,
    file: File,
    *,
    archive_missing: ArchiveMissing = False,
    allow_shrinking: Annotated[
        bool, typer.Option("--allow-shrinking", help="Apply also if users would lose access.")
    ] = False,
    etag: Annotated[
        str | None, typer.Option(metavar="ETAG", help="Apply only if the catalogue is as when `plan` printed this.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the catalogue of the server what a file says, in one step.

    Exit status 3: users would lose access; without --allow-shrinking nothing was changed.
    """
    with _problems(), connection.client() as client:
        read = _read(file)
        if not allow_shrinking:
            planned = _apply(client, read, archive_missing=archive_missing, dry_run=True, etag=etag)
            if planned.access_losses:
                _print(planned, as_json=as_json, done=False)
                tell(f"nothing was changed: {shrinking_summary(planned)}; --allow-shrinking applies it nevertheless")
                raise typer.Exit(EXIT_SHRINKS)
            # What is applied is what was planned.
            etag = planned.etag
        applied = _apply(client, read, archive_missing=archive_missing, dry_run=False, etag=etag)
    _print(applied, as_json=as_json, done=True)


@catalog.command("schema")
def schema() -> None:
    """Print the JSON schema of the file, for editors and checks."""
    from canuse_server.cli.catalog.schema import text  # noqa: PLC0415

    typer.echo(text(), nl=False)


def _read(file: Path) -> "tuple[CatalogFile, Request]":
    from canuse_server.cli.catalog.convert import request_of  # noqa: PLC0415
    from canuse_server.cli.catalog.file import CatalogFile  # noqa: PLC0415

    read = CatalogFile(file)
    request = request_of(read.document)
    read.raise_for(request.problems)
    return read, request


def _apply(
    client: canuse.Client,
    read: "tuple[CatalogFile, Request]",
    *,
    archive_missing: bool,
    dry_run: bool,
    etag: str | None = None,
    max_user_losses: int = 0,
) -> v1.ApplyCatalogResponse:
    """Apply a file; Unusable with line numbers if the server does not accept it."""
    file, request = read
    try:
        return client.apply_catalog(
            request.features,
            request.packages,
            archive_missing=archive_missing,
            dry_run=dry_run,
            etag=etag,
            max_user_losses=max_user_losses,
        )
    except canuse.CanuseError as error:
        fields = [(violation.field, violation.description) for violation in error.violations]
        if field := error.metadata.get("field"):
            fields.append((field, str(error)))
        places = [(request.place(field), text) for field, text in fields]
        file.raise_for((place, text) for place, text in places if place is not None)
        raise


@contextmanager
def _problems() -> Iterator[None]:
    """End the command with one line on standard error for each problem of a file."""
    from canuse_server.cli.catalog.file import Unusable  # noqa: PLC0415

    try:
        yield
    except Unusable as unusable:
        for line in unusable.lines:
            tell(out.printable(line))
        raise typer.Exit(EXIT_ERROR) from None


def _print(answer: v1.ApplyCatalogResponse, *, as_json: bool, done: bool) -> None:
    if as_json:
        out.print_json(out.as_json(answer))
    else:
        print_plan(answer, done=done)
