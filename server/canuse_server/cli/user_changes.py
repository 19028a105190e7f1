"""The commands that change users."""

from typing import Annotated

import typer

from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.options import EventId, Json, Package, User


@with_connection
def change_package(
    connection: Connection,
    user: User,
    package: Package,
    *,
    at_period_end: Annotated[
        bool, typer.Option("--at-period-end", help="Change at the end of the current period or trial, not now.")
    ] = False,
    event_id: EventId = None,
    as_json: Json = False,
) -> None:
    """Change a user's base package. Usage, add-ons and grants stay. The same command again changes nothing."""
    with connection.client() as client:
        answer = client.change_package(user, package, at_period_end=at_period_end, event_id=event_id)
    if as_json:
        out.print_json(out.as_json(answer))
        return
    result = "changed" if answer.changed else "unchanged"
    repeat = ", a repeat that changed nothing" if answer.replayed else ""
    since = out.moment(answer.subscription, "started_at", "")
    typer.echo(f"{result}: {out.printable(answer.subscription.package_id)} from {since}{repeat}")
    for each in answer.replaced:
        typer.echo(f"replaced: {out.printable(each.package_id)} until {out.moment(each, 'cancel_at', '')}")
    typer.echo(f"subscription {out.printable(answer.subscription.id)}")
