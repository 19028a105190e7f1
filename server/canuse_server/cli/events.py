"""The command that lists recorded usage events."""

from itertools import islice
from typing import Annotated

import typer

from canuse import v1
from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.options import Json, Limit, User


@with_connection
def events(
    connection: Connection,
    user: User,
    feature: Annotated[str | None, typer.Option(metavar="FEATURE", help="Only events of this feature.")] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """List a user's recorded usage events, newest first, as far back as the ledger goes."""
    with connection.client() as client:
        found = list(islice(client.list_usage_events(user, feature_id=feature), limit))
    if as_json:
        out.print_json([out.as_json(event) for event in found])
        return
    rows = (
        [
            out.moment(event, "time", ""),
            event.feature_id,
            _change(event),
            out.reason(event.reason),
            str(event.used),
            out.amount(event, "budget"),
            out.amount(event, "remaining"),
            event.event_id or event.id,
            out.pairs(event.metadata),
        ]
        for event in found
    )
    columns = ("time", "feature", "change", "reason", "used", "budget", "remaining", "event id", "metadata")
    of_feature = f" of {feature}" if feature else ""
    out.print_table(columns, rows, empty=f"nothing was recorded for {user}{of_feature}")


def _change(event: v1.UsageEvent) -> str:
    """Return the delta of an event, with the change of the total in parentheses if it differs."""
    if event.action == v1.USAGE_ACTION_SET:
        return f"={event.delta} ({event.applied_delta:+d})"
    return f"{event.delta:+d}" + (f" ({event.applied_delta:+d})" if event.applied_delta != event.delta else "")
