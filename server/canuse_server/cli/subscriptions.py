"""The command that lists the subscriptions of all users."""

from itertools import islice
from typing import Annotated

import typer

from canuse import v1
from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, Refused, with_connection
from canuse_server.cli.options import Json, Limit

PREFIX = "SUBSCRIPTION_STATUS_"
STATUSES = [name.removeprefix(PREFIX) for name in v1.SubscriptionStatus.keys()[1:]]


@with_connection
def subscriptions(
    connection: Connection,
    user: Annotated[str | None, typer.Option(metavar="USER", help="Only subscriptions of this user.")] = None,
    package: Annotated[str | None, typer.Option(metavar="PACKAGE", help="Only subscriptions to this package.")] = None,
    status: Annotated[str | None, typer.Option(metavar="STATUS", help=f"One of {', '.join(STATUSES)}.")] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """List the subscriptions of all users, including ended ones."""
    with connection.client() as client:
        if status is not None and status.upper() not in STATUSES:
            raise Refused(f"--status: {status!r} is not one of {', '.join(STATUSES)}")
        chosen = None if status is None else v1.SubscriptionStatus.Value(PREFIX + status.upper())
        found = list(islice(client.list_subscriptions(user, package_id=package, status=chosen), limit))
    if as_json:
        out.print_json([out.as_json(each) for each in found])
        return
    rows = (
        [
            each.user_id,
            each.id,
            each.package_id,
            str(each.package_version),
            out.enum_name(v1.SubscriptionStatus, each.status, PREFIX),
            out.moment(each, "started_at", ""),
            out.moment(each, "trial_end", ""),
            out.moment(each, "cancel_at", ""),
        ]
        for each in found
    )
    columns = ("user", "subscription", "package", "version", "status", "started at", "trial end", "cancel at")
    out.print_table(columns, rows, empty="no subscriptions")
