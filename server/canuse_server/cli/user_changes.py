"""The commands that change users."""

from typing import Annotated, Any

import typer

from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.options import EventId, Json, Package, User


@with_connection
def ensure_user(
    connection: Connection,
    user: User,
    *,
    name: Annotated[str | None, typer.Option(help="Display name.")] = None,
    email: Annotated[str | None, typer.Option(help="E-mail address.")] = None,
    billing_id: Annotated[str | None, typer.Option(help="The user's id in the billing system.")] = None,
    disabled: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Whether the user may use nothing.")
    ] = None,
    package: Annotated[
        str | None, typer.Option(help="A base package if the user has none, or an add-on that the user does not have.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Create a user or change the given fields, and subscribe to a package. The same command again changes nothing."""
    fields = {"name": name, "email": email, "billing_id": billing_id, "disabled": disabled}
    given: dict[str, Any] = {field: value for field, value in fields.items() if value is not None}
    with connection.client() as client:
        answer = client.ensure_user(user, **given, package_id=package)
    if as_json:
        out.print_json(out.as_json(answer))
        return
    result = "created" if answer.created else "updated" if answer.updated else "unchanged"
    typer.echo(f"{result}: {out.printable(answer.user.id)}")
    if answer.HasField("subscription"):
        has = "subscribed to" if answer.subscribed else "already has"
        typer.echo(f"{has} {out.printable(answer.subscription.package_id)}")
        typer.echo(f"subscription {out.printable(answer.subscription.id)}")


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
