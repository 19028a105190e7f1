"""The command that lists the audit log."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any, Final

import typer

from canuse import Client, Unavailable, v1
from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.options import Json, Limit, moment

PAGE_SIZE: Final = 1000
INTERVAL_SECONDS: Final = 1.0
"""Time between two looks for new entries."""
OVERLAP: Final = timedelta(seconds=10)
"""By how much later an entry can have an earlier time than another one: the clocks of a Cluster's nodes differ."""
COLUMNS: Final = ("time", "environment", "method", "caller", "user", "fields", "changed", "request id")


@with_connection
def audit(
    connection: Connection,
    *,
    user: Annotated[str | None, typer.Option(metavar="USER", help="Only changes of this user.")] = None,
    method: Annotated[
        str | None, typer.Option(metavar="METHOD", help="Only changes by this method, such as UpdateUser.")
    ] = None,
    caller: Annotated[
        str | None, typer.Option(metavar="KEY_ID", help="Only changes by callers with this API key: its id.")
    ] = None,
    start: Annotated[str | None, typer.Option(metavar="TIME", help="Only changes at or after this time.")] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="Only changes before this time.")] = None,
    limit: Limit = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Print changes as they are made, a line each, until Ctrl-C."),
    ] = False,
    as_json: Json = False,
) -> None:
    """List who changed what, newest first: users, the catalogue, API keys. Needs a key with keys:admin."""
    if follow and (end is not None or limit is not None):
        raise typer.BadParameter("give either --follow, or --end and --limit")
    with connection.client() as client:
        since, until = moment("--start", start), moment("--end", end)
        filters: dict[str, Any] = {"user_id": user, "method": method, "caller_key_id": caller}
        if follow:
            for entry in _new_entries(client, filters, since):
                _print_line(entry, as_json=as_json)
            return
        page_size = min(limit or PAGE_SIZE, PAGE_SIZE)
        listed = client.list_audit_entries(start_time=since, end_time=until, page_size=page_size, **filters)
        found = list(islice(listed, limit))
    if as_json:
        out.print_json([out.as_json(entry) for entry in found])
        return
    out.print_table(COLUMNS, map(_row, found), empty="nothing was changed")


def _new_entries(client: Client, filters: Mapping[str, Any], since: datetime | None) -> Iterator[v1.AuditEntry]:
    """Yield entries as they are added, oldest first: those since a time, or else those later than the newest one.

    A server that does not answer may be back later, unless it has never answered.
    """
    known, newest = set[str](), since
    if newest is None and (newest := _newest(client)) is not None:
        known = {entry.id for entry in client.list_audit_entries(start_time=newest - OVERLAP)}
    answered = since is None
    while True:
        try:
            later = _newest(client)
            start = None if newest is None else newest - OVERLAP if newest != since else since
            found = list(client.list_audit_entries(start_time=start, page_size=PAGE_SIZE, **filters))
        except Unavailable:
            if not answered:
                raise
        else:
            yield from (entry for entry in reversed(found) if entry.id not in known)
            known = {entry.id for entry in found}
            newest, answered = later or newest, True
        time.sleep(INTERVAL_SECONDS)


def _print_line(entry: v1.AuditEntry, *, as_json: bool) -> None:
    line = json.dumps(out.as_json(entry)) if as_json else "  ".join(map(out.printable, filter(None, _row(entry))))
    typer.echo(line)
    sys.stdout.flush()


def _newest(client: Client) -> datetime | None:
    """Return the time of the newest entry."""
    entry = next(client.list_audit_entries(page_size=1), None)
    return None if entry is None else entry.time.ToDatetime(UTC)


def _row(entry: v1.AuditEntry) -> list[str]:
    return [
        out.moment(entry, "time", ""),
        out.enum_name(v1.Environment, entry.environment, "ENVIRONMENT_"),
        entry.method.rpartition("/")[2],
        entry.caller_key_id or "anonymous",
        entry.user_id,
        ", ".join(entry.fields),
        ", ".join(_changed(entry)),
        entry.request_id,
    ]


def _changed(entry: v1.AuditEntry) -> list[str]:
    """Return the ids of what changed besides the user, each with its kind."""
    kinds = {
        "subscription": entry.subscription_ids,
        "grant": entry.grant_ids,
        "feature": entry.feature_ids,
        "package": entry.package_ids,
        "key": [entry.api_key_id] if entry.api_key_id else [],
    }
    return [f"{kind} {each}" for kind, ids in kinds.items() for each in ids]
