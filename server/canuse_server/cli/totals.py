"""The command that lists what all users have used by period."""

from itertools import islice
from typing import Annotated

import typer

from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.options import Json, Limit, moment

PAGE_SIZE = 1000


@with_connection
def totals(
    connection: Connection,
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only periods that started at or after this time.")
    ] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="Only periods that started before this time.")] = None,
    feature: Annotated[str | None, typer.Option(metavar="FEATURE", help="Only this feature.")] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """List what all users have used of each feature, by period: what to bill."""
    with connection.client() as client:
        since, until = moment("--start", start), moment("--end", end)
        listed = client.list_usage_totals(
            start_time=since, end_time=until, feature_id=feature, page_size=min(limit or PAGE_SIZE, PAGE_SIZE)
        )
        found = list(islice(listed, limit))
    if as_json:
        out.print_json([out.as_json(total) for total in found])
        return
    rows = (
        [
            total.user_id,
            total.feature_id,
            out.moment(total, "period_start", ""),
            out.moment(total, "period_end", "never"),
            str(total.used),
            out.amount(total, "budget"),
            str(total.drawn_from_grants),
            str(total.overage),
            out.yes_or_no(total.complete),
        ]
        for total in found
    )
    columns = ("user", "feature", "start", "end", "used", "budget", "from grants", "overage", "complete")
    out.print_table(columns, rows, empty="nothing was used")
