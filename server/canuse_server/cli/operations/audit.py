"""The command that lists the audit log."""

from itertools import islice
from typing import Annotated, Final

import typer

from canuse import v1
from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.options import Json, Limit, moment

PAGE_SIZE: Final = 1000
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
    as_json: Json = False,
) -> None:
    """List who changed what, newest first: users, the catalogue, API keys. Needs a key with keys:admin."""
    with connection.client() as client:
        listed = client.list_audit_entries(
            start_time=moment("--start", start),
            end_time=moment("--end", end),
            user_id=user,
            method=method,
            caller_key_id=caller,
            page_size=min(limit or PAGE_SIZE, PAGE_SIZE),
        )
        found = list(islice(listed, limit))
    if as_json:
        out.print_json([out.as_json(entry) for entry in found])
        return
    out.print_table(COLUMNS, map(_row, found), empty="nothing was changed")


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
