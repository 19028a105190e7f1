"""The commands about API keys."""

from itertools import islice
from typing import Annotated, Final, Literal

import typer

from canuse import v1
from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.options import Json, Limit, moment
from canuse_server.domain.api_keys import Scope

keys = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")

_ENVIRONMENTS: Final = {"live": v1.ENVIRONMENT_LIVE, "test": v1.ENVIRONMENT_TEST}
_PREFIX: Final = "ENVIRONMENT_"
_TYPE_PREFIX: Final = "API_KEY_TYPE_"


@keys.command("create")
@with_connection
def create_key(
    connection: Connection,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The holder of the key.")],
    *,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"What the key may do: {', '.join(Scope)}. Repeat the option for several.")
    ] = None,
    all_scopes: Annotated[bool, typer.Option("--all-scopes", help="Give the key all scopes.")] = False,
    publishable: Annotated[
        bool,
        typer.Option("--publishable", help="Create a key that web pages may contain. It needs no scope."),
    ] = False,
    environment: Annotated[
        Literal["live", "test"], typer.Option(help="The environment of every call with the key.")
    ] = "live",
    expires_at: Annotated[
        str | None,
        typer.Option(
            help="When the key expires, in ISO 8601 with a time zone, such as 2026-07-01T00:00:00Z.",
            show_default="never",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Create a key. Its secret is printed and never shown again."""
    if [bool(scope), all_scopes, publishable].count(True) != 1:
        raise typer.BadParameter("give either --scope, at least once, or --all-scopes or --publishable")
    with connection.client() as client:
        created = client.create_api_key(
            name,
            list(Scope) if all_scopes else scope or [],
            environment=_ENVIRONMENTS[environment],
            expires_at=moment("--expires-at", expires_at),
            type=v1.API_KEY_TYPE_PUBLISHABLE if publishable else v1.API_KEY_TYPE_SECRET,
        )
    if as_json:
        out.print_json({"api_key": out.as_json(created.api_key), "secret": created.secret})
        return
    out.print_fields(_description(created.api_key))
    advice = "whoever has it can read what any user may use" if publishable else "store it as a secret"
    typer.echo(f"\n{created.secret}\n\nThis is the key. It is never shown again: {advice}.")


@keys.command("list")
@with_connection
def list_keys(connection: Connection, limit: Limit = None, as_json: Json = False) -> None:
    """List keys, oldest first, without their secrets."""
    with connection.client() as client:
        found = list(islice(client.list_api_keys(), limit))
    if as_json:
        out.print_json([out.as_json(key) for key in found])
        return
    columns = ("key", "name", "environment", "scopes", "created at", "expires at", "last used at", "type")
    out.print_table(columns, (list(_description(key).values()) for key in found), empty="no keys")


@keys.command("revoke")
@with_connection
def revoke_key(
    connection: Connection,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, as `canuse keys list` shows it.")],
    as_json: Json = False,
) -> None:
    """Revoke a key: within a second no server accepts it."""
    with connection.client() as client:
        revoked = client.revoke_api_key(key)
    if as_json:
        out.print_json(out.as_json(revoked))
    else:
        typer.echo(f"revoked {revoked.id} ({out.printable(revoked.name)})")


def _description(key: v1.ApiKey) -> dict[str, str]:
    """Return the fields of a key for people."""
    return {
        "key": key.id,
        "name": key.name,
        "environment": out.enum_name(v1.Environment, key.environment, _PREFIX).lower(),
        "scopes": " ".join(key.scopes),
        "created at": out.moment(key, "created_at", ""),
        "expires at": out.moment(key, "expires_at", "never"),
        "last used at": out.moment(key, "last_used_at", ""),
        "type": out.enum_name(v1.ApiKeyType, key.type, _TYPE_PREFIX).lower(),
    }
