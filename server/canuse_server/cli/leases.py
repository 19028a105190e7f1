"""The commands that reserve an amount before use, list leases, extend one, and settle it."""

from datetime import timedelta
from itertools import islice
from typing import Annotated

import typer

from canuse import SettleAnswer
from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.exit_status import EXIT_NO
from canuse_server.cli.options import EventId, Feature, Json, Limit, User


@with_connection
def leases(
    connection: Connection,
    user: User,
    feature: Annotated[str | None, typer.Option(metavar="FEATURE", help="Only leases of this feature.")] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """List a user's open leases: those that expire first come first. Settled and expired ones are not among them."""
    with connection.client() as client:
        found = list(islice(client.list_leases(user, feature_id=feature), limit))
    if as_json:
        out.print_json([out.as_json(lease) for lease in found])
        return
    rows = ([each.id, each.feature_id, str(each.amount), out.moment(each, "expires_at", "")] for each in found)
    of_feature = f" of {feature}" if feature else ""
    out.print_table(("lease", "feature", "amount", "expires at"), rows, empty=f"no open leases of {user}{of_feature}")


@with_connection
def reserve(
    connection: Connection,
    user: User,
    feature: Feature,
    amount: Annotated[int, typer.Argument(metavar="AMOUNT", help="The requested amount, in the feature's units.")],
    *,
    min_amount: Annotated[int, typer.Option("--min", help="The smallest amount to grant.")] = 1,
    ttl: Annotated[
        float | None, typer.Option(min=1, max=604_800, help="Lifetime of the lease, in seconds.", show_default="60")
    ] = None,
    event_id: EventId = None,
    as_json: Json = False,
) -> None:
    """Reserve an amount before use, or what is available of it. Exit status 1: nothing was granted."""
    with connection.client() as client:
        length = None if ttl is None else timedelta(seconds=ttl)
        answer = client.reserve(user, feature, amount, min_amount=min_amount, ttl=length, event_id=event_id)
    if as_json:
        out.print_json(out.as_json(answer.message))
    else:
        counts = f", {out.consumption_words(answer.consumption)}" if answer.consumption else ""
        retry = out.retry_words(answer.message)
        typer.echo(f"granted {answer.granted}: {out.reason(answer.reason)}{counts}{retry}")
        if answer:
            typer.echo(f"lease {answer.lease_id} until {out.moment(answer.message, 'expires_at', '')}")
    if not answer:
        raise typer.Exit(EXIT_NO)


@with_connection
def extend_lease(
    connection: Connection,
    lease: Annotated[str, typer.Argument(metavar="LEASE", help="The lease's id.")],
    *,
    ttl: Annotated[
        float | None, typer.Option(min=1, max=604_800, help="Lifetime of the lease from now on, in seconds.")
    ] = None,
    amount: Annotated[int | None, typer.Option(help="Units to reserve in addition.")] = None,
    event_id: EventId = None,
    as_json: Json = False,
) -> None:
    """Extend a lease: a later expiry, more units, or both. Exit status 1: the units are not available."""
    with connection.client() as client:
        length = None if ttl is None else timedelta(seconds=ttl)
        answer = client.extend_lease(lease, ttl=length, amount=amount, event_id=event_id)
    if as_json:
        out.print_json(out.as_json(answer.message))
    else:
        counts = f", {out.consumption_words(answer.consumption)}" if answer.consumption else ""
        typer.echo(f"{'extended' if answer else 'not extended'}: {out.reason(answer.reason)}{counts}")
        typer.echo(f"reserves {answer.granted} until {out.moment(answer.message, 'expires_at', '')}")
    if not answer:
        raise typer.Exit(EXIT_NO)


@with_connection
def settle(
    connection: Connection,
    lease: Annotated[str, typer.Argument(metavar="LEASE", help="The lease's id.")],
    used: Annotated[int, typer.Argument(metavar="USED", help="The amount used, in the feature's units.")],
    *,
    part: Annotated[bool, typer.Option("--part", help="Keep the rest of the lease.")] = False,
    event_id: EventId = None,
    as_json: Json = False,
) -> None:
    """End a lease: record what was used, and release the rest."""
    with connection.client() as client:
        answer = client.settle(lease, used, final=not part, event_id=event_id)
    if as_json:
        out.print_json(out.as_json(answer.message))
        return
    typer.echo(f"settled{_remarks(answer)}: {out.reason(answer.reason)}{_counts(answer)}")
    if answer.event_id:
        typer.echo(f"event id {out.printable(answer.event_id)}")


def _remarks(answer: SettleAnswer) -> str:
    late = ", after it had expired" if answer.late else ""
    return late + (", a repeat that was not counted again" if answer.replayed else "")


def _counts(answer: SettleAnswer) -> str:
    return f", {out.consumption_words(answer.consumption)}" if answer.consumption else ""
