"""The commands about grants: one-time amounts of a feature for one user."""

from itertools import islice
from typing import Annotated

import typer

from canuse import v1
from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.options import Feature, Json, Limit, User, moment

grants = typer.Typer(no_args_is_help=True, help="Give users amounts of a feature in addition to packages.")

Grant = Annotated[str, typer.Argument(metavar="GRANT", help="The grant's id, unique among the grants of the user.")]
_TIME = "in ISO 8601 with a time zone, such as 2026-07-01T00:00:00Z"


@grants.command("list")
@with_connection
def list_grants(connection: Connection, user: User, limit: Limit = None, as_json: Json = False) -> None:
    """List a user's grants, including ended ones. `canuse usage USER FEATURE --json` shows what is left of each."""
    with connection.client() as client:
        found = list(islice(client.list_grants(user), limit))
    if as_json:
        out.print_json([out.as_json(grant) for grant in found])
        return
    rows = (
        [
            each.id,
            each.feature_id,
            out.amount(each, "amount"),
            str(each.priority),
            out.moment(each, "effective_at", ""),
            out.moment(each, "expires_at", "never"),
            out.moment(each, "revoked_at", ""),
            each.note,
        ]
        for each in found
    )
    columns = ("grant", "feature", "amount", "priority", "effective at", "expires at", "revoked at", "note")
    out.print_table(columns, rows, empty="no grants")


@grants.command("create")
@with_connection
def create_grant(
    connection: Connection,
    user: User,
    grant: Grant,
    feature: Feature,
    *,
    amount: Annotated[int | None, typer.Option(help="Units to give, once.", show_default="none")] = None,
    unlimited: Annotated[
        bool, typer.Option("--unlimited", help="Give it without a limit, or enable a binary feature.")
    ] = False,
    effective_at: Annotated[
        str | None, typer.Option(help=f"When it takes effect, {_TIME}.", show_default="now")
    ] = None,
    expires_at: Annotated[str | None, typer.Option(help=f"When it expires, {_TIME}.", show_default="never")] = None,
    priority: Annotated[int, typer.Option(help="Grants with a lower number are used first.")] = 0,
    note: Annotated[str, typer.Option(help="A note for people.")] = "",
    as_json: Json = False,
) -> None:
    """Give a user an amount of a feature. The same command again changes nothing."""
    if (amount is None) != unlimited:
        raise typer.BadParameter("give either --amount or --unlimited")
    with connection.client() as client:
        created = client.create_grant(
            user,
            grant,
            feature,
            amount=amount,
            effective_at=moment("--effective-at", effective_at),
            expires_at=moment("--expires-at", expires_at),
            priority=priority,
            note=note,
        )
    _show(created, as_json)


@grants.command("revoke")
@with_connection
def revoke_grant(connection: Connection, user: User, grant: Grant, as_json: Json = False) -> None:
    """Revoke a grant: from now on it gives nothing. Units already used from it stay used."""
    with connection.client() as client:
        revoked = client.revoke_grant(user, grant)
    _show(revoked, as_json)


def _show(grant: v1.Grant, as_json: bool) -> None:
    """Show one grant."""
    if as_json:
        out.print_json(out.as_json(grant))
        return
    out.print_fields(
        {
            "grant": grant.id,
            "user": grant.user_id,
            "feature": grant.feature_id,
            "amount": out.amount(grant, "amount"),
            "priority": str(grant.priority),
            "effective at": out.moment(grant, "effective_at", ""),
            "expires at": out.moment(grant, "expires_at", "never"),
            "revoked at": out.moment(grant, "revoked_at", ""),
            "note": grant.note,
        }
    )
