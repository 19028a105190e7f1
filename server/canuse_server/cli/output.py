"""The output of commands: JSON for programs, tables and sentences for people."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol

import typer
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.console import Console
from rich.table import Table

from canuse import Consumption, v1

_INT64_TYPES: Final = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})
WIDTH: Final = 10_000
"""Wide enough for any row. The terminal wraps a row that is too long, so ids can be copied as a whole."""
_NUMBER_COLUMNS: Final = frozenset(
    {"change", "used", "reserved", "budget", "remaining", "limit", "version", "amount", "priority"}
)


class EnumType(Protocol):
    """The type of a generated enum."""

    def Name(self, number: Any) -> str:  # noqa: N802 - protobuf's name
        """Return the name of a value; ValueError if it has none."""


def as_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON values, with the field names of the API.

    Unlike in protobuf's own mapping, 64-bit integers are numbers, not strings. Amounts are at most 2^53 - 1, which
    every JSON parser represents exactly.
    """
    values = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return _with_numbers(values, message.DESCRIPTOR.fields_by_name)


# Fields are Any: their class depends on the implementation of protobuf.
def _with_numbers(values: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON values of a message in the order of its definition, with 64-bit integers as numbers."""
    return {
        name: _with_number(values[name], fields[name]) for name in sorted(values, key=lambda name: fields[name].number)
    }


def _with_number(value: Any, field: Any) -> Any:
    """Return the JSON value of a field with 64-bit integers as numbers."""
    if isinstance(value, list):
        return [_with_number(item, field) for item in value]
    if field.cpp_type in _INT64_TYPES:
        return int(value)
    # A time is a message whose JSON is a string.
    if not isinstance(value, dict) or field.message_type is None:
        return value
    if field.message_type.GetOptions().map_entry:
        return dict(sorted(value.items()))  # The maps of the API contain strings only, in no fixed order.
    return _with_numbers(value, field.message_type.fields_by_name)


def print_json(value: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """Print a table, or the sentence `empty` if there are no rows."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True, justify="right" if column in _NUMBER_COLUMNS else "left")
    for row in rows:
        table.add_row(*map(printable, row))
    if not table.row_count:
        typer.echo(printable(empty))
        return
    # Ids and names are the caller's and contain no markup.
    Console(width=WIDTH, markup=False, emoji=False, highlight=False).print(table)


def print_fields(fields: Mapping[str, str]) -> None:
    """Print names and values, one pair a line, without empty values."""
    width = max(map(len, fields))
    for name, value in fields.items():
        if value:
            typer.echo(f"{name:<{width}}  {printable(value)}")


def printable(text: str) -> str:
    """Return a text with control characters escaped: names and metadata are untrusted."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def enum_name(kind: EnumType, number: int, prefix: str) -> str:
    """Return the name of an enum value without its prefix; the number if the value is unknown."""
    try:
        return kind.Name(number).removeprefix(prefix)
    except ValueError:
        return str(number)


def reason(number: int) -> str:
    """Return a reason as a word: `BUDGET_EXCEEDED`."""
    return enum_name(v1.Reason, number, "REASON_")


def yes_or_no(value: bool) -> str:
    """Return a truth value as a word."""
    return "yes" if value else "no"


def pairs(metadata: Mapping[str, str]) -> str:
    """Return metadata on one line, sorted by key."""
    return ", ".join(f"{key}={metadata[key]}" for key in sorted(metadata))


def moment(message: Message, field: str, absent: str) -> str:
    """Return the time in a field as ISO 8601 in UTC, or `absent` if the field is not set."""
    time: Timestamp = getattr(message, field)
    return time.ToJsonString() if message.HasField(field) else absent


def amount(message: Message, field: str) -> str:
    """Return an optional amount; an absent one is unlimited."""
    return str(getattr(message, field)) if message.HasField(field) else "unlimited"


def retry_words(message: Message) -> str:
    """Return after what time a no will be a yes, as a part of a sentence; nothing where that is not known."""
    if not message.HasField("retry_after"):
        return ""
    retry_after: Duration = message.retry_after  # type: ignore[attr-defined]
    return f", a yes in {_duration(retry_after.ToTimedelta())} if nothing else changes"


def consumption_cells(consumption: Consumption | None) -> list[str]:
    """Return used, reserved, budget, remaining and the reset of a consumption; empty cells where nothing is counted."""
    if consumption is None:
        return [""] * 5
    return [
        str(consumption.used),
        str(consumption.reserved),
        amount(consumption.message, "budget"),
        amount(consumption.message, "remaining"),
        moment(consumption.message, "resets_at", "never"),
    ]


def consumption_words(consumption: Consumption) -> str:
    """Return the counts of a consumption as a part of a sentence."""
    reserved = f", {consumption.reserved} reserved" if consumption.reserved else ""
    counts = f"{consumption.used} used{reserved}, unlimited"
    if consumption.budget is not None:
        counts = f"{consumption.used} of {consumption.budget} used{reserved}, {consumption.remaining} remaining"
    resets_at = moment(consumption.message, "resets_at", "")
    return f"{counts}, resets at {resets_at}" if resets_at else f"{counts}, never resets"


def _duration(duration: timedelta) -> str:
    """Return a duration in days, hours, minutes and seconds, rounded up to a second."""
    seconds = math.ceil(duration.total_seconds())
    parts = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"
