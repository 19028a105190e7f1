"""Arguments and options that several commands have."""

from datetime import datetime
from typing import Annotated

import typer

from canuse_server.cli.connection import Refused

User = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
Feature = Annotated[str, typer.Argument(metavar="FEATURE", help="The feature's id.")]
Package = Annotated[str, typer.Argument(metavar="PACKAGE", help="The package's id.")]
EventId = Annotated[str | None, typer.Option(help="Idempotency key: a repeat gets the first answer again.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, with the field names of the API.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Show so many at most. Default: all.")]


def moment(option: str, text: str | None) -> datetime | None:
    """Return the time that an option names, None where it was not given; raises Refused where it is none."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.utcoffset() is None:
        raise Refused(f"{option}: {text!r} is no time in ISO 8601 with a time zone, such as 2026-07-01T00:00:00Z")
    return found
