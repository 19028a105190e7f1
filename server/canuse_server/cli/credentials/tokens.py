"""The commands about user tokens."""

from datetime import timedelta
from typing import Annotated

import typer

from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.options import Json, User

tokens = typer.Typer(no_args_is_help=True, help="Generate and revoke tokens for the web pages and apps of a user.")


@tokens.command("create")
@with_connection
def create_token(
    connection: Connection,
    user: User,
    *,
    ttl: Annotated[
        float | None,
        typer.Option(min=60, max=2_592_000, help="How long the token is valid, in seconds.", show_default="3600"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Generate a token for a user. It is printed and never shown again."""
    with connection.client() as client:
        generated = client.generate_user_token(user, ttl=None if ttl is None else timedelta(seconds=ttl))
    expires_at = generated.expires_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if as_json:
        out.print_json({"token": generated.token, "expires_at": expires_at})
        return
    typer.echo(f"{generated.token}\n\nThis token reads what {out.printable(user)} may use, until {expires_at}.")


@tokens.command("revoke")
@with_connection
def revoke_tokens(connection: Connection, user: User) -> None:
    """Revoke all tokens of a user: from now on no server accepts them."""
    with connection.client() as client:
        client.revoke_user_tokens(user)
    typer.echo(f"revoked the tokens of {out.printable(user)}")
