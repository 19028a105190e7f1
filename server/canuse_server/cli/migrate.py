"""The command that moves subscriptions to another version of their package."""

import json
from typing import Annotated, Final

import typer

from canuse import v1
from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.options import Json, Package

MAX_NAMED_USERS: Final = 20
"""Maximum number of users who get less whose ids are printed; --json prints all."""


@with_connection
def migrate(
    connection: Connection,
    package: Package,
    *,
    to_version: Annotated[
        int | None,
        typer.Option(
            "--to", metavar="VERSION", help="The version to move to. Default: the one that new subscriptions get."
        ),
    ] = None,
    from_version: Annotated[
        int | None,
        typer.Option(
            "--from", metavar="VERSION", help="Move only subscriptions on this version. Default: on any other."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only, without a change.")] = False,
    resume: Annotated[str | None, typer.Option(metavar="TOKEN", help="Continue an earlier migration.")] = None,
    as_json: Json = False,
) -> None:
    """Move subscriptions to another version of their package; usage is kept.

    Shows the progress, with --json as lines of JSON. It can be interrupted and resumed at any time.
    """
    last: v1.MigrateSubscriptionsResponse | None = None
    shrinking: list[str] = []
    try:
        with connection.client() as client:
            for last in client.migrate_subscriptions(
                package, from_version=from_version, to_version=to_version, dry_run=dry_run, resume_token=resume
            ):
                shrinking += last.shrinking_user_ids[: MAX_NAMED_USERS - len(shrinking)]
                if as_json:
                    typer.echo(json.dumps(out.as_json(last)))
                else:
                    typer.echo(_counts(last, dry_run), err=not last.done)
    finally:
        # Also after an error or Ctrl-C.
        if last and not last.done:
            typer.echo(f"canuse: continue with the same command and --resume {last.resume_token}", err=True)
    if last and shrinking and not as_json:
        others = last.shrinking_users - len(shrinking)
        more = f" and {others:,} more, which --json lists" if others else ""
        typer.echo(f"less than before: {', '.join(map(out.printable, shrinking))}{more}")


def _counts(progress: v1.MigrateSubscriptionsResponse, dry_run: bool) -> str:
    """Return the progress of a migration as a line."""
    moved, less = ("would move", "would get") if dry_run else ("moved", "get")
    return (
        f"users processed: {progress.users:,}, subscriptions that {moved}: {progress.migrated:,}, "
        f"users who {less} less than before: {progress.shrinking_users:,}"
    )
