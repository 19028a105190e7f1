"""Arguments and options that several commands have."""

from datetime import datetime
from typing import Annotated

import typer

from canuse_server.cli.connection import Refused

User = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
Feature = Annotated[str, typer.Argument(metavar="FEATURE", help="The feature's id.")]
Package = Annotated[str, typer.Argument(metavar="PACKAGE", help="The package's id.")]
EventId = Annotated[str | None, typer.Option(help="Idempotency key: a retry gets the first answer.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, with the field names of the API.")]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, max=10**9, help="Maximum number of items to show. Default: all.")
]


def moment(option: str, text: str | None) -> datetime | None:
    """Parse the time in an option, None if it was not given; Refused if it is invalid."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.utcoffset() is None:
        raise Refused(f"{option}: {text!r} is not a time in ISO 8601 with a time zone, such as 2026-07-01T00:00:00Z")
    return time
