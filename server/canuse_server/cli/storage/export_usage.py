"""The command that exports the ledger of all users."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import v1
from canuse_server.cli import output as out
from canuse_server.cli.exit_status import tell
from canuse_server.cli.options import moment
from canuse_server.cli.storage import progress
from canuse_server.cli.storage.options import Progress, StoreOptions, with_store

if TYPE_CHECKING:
    from canuse_server.settings import Settings
    from canuse_server.store.codec.ledger_pb2 import LedgerEntry
    from canuse_server.store.redis.client import Store
    from canuse_server.store.repositories.ledger import Place


@with_store
def export_usage(
    options: StoreOptions,
    *,
    since: Annotated[str | None, typer.Option(help="Only events from this time on, in ISO 8601.")] = None,
    cursor: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Continue where the last export with this file stopped, and remember there."),
    ] = None,
    environment: Annotated[Literal["live", "test"], typer.Option(help="The environment.")] = "live",
    show: Progress = None,
) -> None:
    """Print the recorded usage events of all users, one line of JSON each, as far back as the ledger goes.

    The events of a user are in the order in which they were counted; those of different users are not in the order of
    time. With a cursor, each event is exported once.
    """

    async def job(store: "Store", _settings: "Settings") -> None:
        from canuse_server.cli.storage.cursor import Cursor  # noqa: PLC0415 - needs the extra `server`
        from canuse_server.store.backup.usage import UsageReader  # noqa: PLC0415

        start = moment("--since", since)
        since_ms = 0 if start is None else max(0, math.ceil(start.timestamp() * 1000))
        exported = Cursor(cursor, environment)
        reader = UsageReader(store, environment, since_ms, exported.places)
        events = unreadable = 0
        async with progress.shown(show, lambda: f"exported {reader.share:4.0%}: {events} events"):
            async for part in reader.parts():
                sys.stdout.write("".join(_line(place, entry) for place, entry in part.events))
                # Only what has been written is not written again.
                sys.stdout.flush()
                exported.advance(part.bucket, part.last)
                events += len(part.events)
                unreadable += part.unreadable
        if unreadable:
            tell(
                f"{unreadable} events could not be read and are not in the output: a newer canuse may have written them"
            )

    options.run(job)


def _line(place: "Place", entry: "LedgerEntry") -> str:
    """Return an event as the API's JSON has it, with its user. It takes a tenth of the time of a general conversion."""
    fields: dict[str, Any] = {
        "id": str(place),
        "time": Timestamp(seconds=place.time_ms // 1000, nanos=place.time_ms % 1000 * 1_000_000).ToJsonString(),
        "user_id": entry.user_id,
        "feature_id": entry.feature_id,
        "delta": entry.delta,
        "applied_delta": entry.applied_delta,
        "action": out.enum_name(v1.UsageAction, entry.action, ""),
        "event_id": entry.event_id,
        "metadata": dict(sorted(entry.metadata.items())),
        "reason": out.enum_name(v1.Reason, entry.reason, ""),
        "used": entry.used,
    }
    if entry.budget >= 0:
        fields |= {"budget": entry.budget, "remaining": max(0, entry.budget - entry.used)}
    return json.dumps(fields, separators=(",", ":")) + "\n"
