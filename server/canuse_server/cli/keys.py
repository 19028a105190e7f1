"""The commands about API keys."""

from itertools import islice
from typing import Annotated, Final, Literal

import typer

from canuse import v1
from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.options import Json, Limit, moment
from canuse_server.domain.api_keys import Scope

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke the API keys with which all calls are made.")

_ENVIRONMENTS: Final = {"live": v1.ENVIRONMENT_LIVE, "test": v1.ENVIRONMENT_TEST}
_PREFIX: Final = "ENVIRONMENT_"


@keys.command("create")
@with_connection
def create_key(
    connection: Connection,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who the key is for.")],
    *,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"What the key may do: {', '.join(Scope)}. Give it once for each.")
    ] = None,
    all_scopes: Annotated[bool, typer.Option("--all-scopes", help="Let the key do everything.")] = False,
    environment: Annotated[
        Literal["live", "test"], typer.Option(help="Where every call with the key takes place.")
    ] = "live",
    expires_at: Annotated[
        str | None,
        typer.Option(
            help="Until when, in ISO 8601 with a time zone, such as 2026-07-01T00:00:00Z.", show_default="never"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key. Its secret is printed, and can't be asked for again."""
    if bool(scope) == all_scopes:
        raise typer.BadParameter("give either --scope, once or more often, or --all-scopes")
    with connection.client() as client:
        made = client.create_api_key(
            name,
            list(Scope) if all_scopes else scope or [],
            environment=_ENVIRONMENTS[environment],
            expires_at=moment("--expires-at", expires_at),
        )
    if as_json:
        out.print_json({"api_key": out.as_json(made.api_key), "secret": made.secret})
        return
    out.print_fields(_words(made.api_key))
    typer.echo(f"\n{made.secret}\n\nThis is the key. It is shown this once: keep it where secrets are kept.")


@keys.command("list")
@with_connection
def list_keys(connection: Connection, limit: Limit = None, as_json: Json = False) -> None:
    """List keys, the oldest first, without their secrets."""
    with connection.client() as client:
        found = list(islice(client.list_api_keys(), limit))
    if as_json:
        out.print_json([out.as_json(key) for key in found])
        return
    columns = ("key", "name", "environment", "scopes", "created at", "expires at", "last used at")
    out.print_table(columns, (list(_words(key).values()) for key in found), empty="no keys")


@keys.command("revoke")
@with_connection
def revoke_key(
    connection: Connection,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, as `canuse keys list` shows it.")],
    as_json: Json = False,
) -> None:
    """Revoke a key: within a second no server takes it any more."""
    with connection.client() as client:
        revoked = client.revoke_api_key(key)
    if as_json:
        out.print_json(out.as_json(revoked))
    else:
        typer.echo(f"revoked {revoked.id} ({out.printable(revoked.name)})")


def _words(key: v1.ApiKey) -> dict[str, str]:
    """Return what there is to say about a key, for people."""
    return {
        "key": key.id,
        "name": key.name,
        "environment": out.enum_name(v1.Environment, key.environment, _PREFIX).lower(),
        "scopes": " ".join(key.scopes),
        "created at": out.moment(key, "created_at", ""),
        "expires at": out.moment(key, "expires_at", "never"),
        "last used at": out.moment(key, "last_used_at", ""),
    }
