"""The features of a package as rows of a form: one a row, and empty rows for more."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.api.errors import ApiError, ErrorReason, invalid
from canuse_server.transport.http.console.actions.form import CHECKED, Field, Form, Options
from canuse_server.transport.http.console.forms import MAX_FIELDS
from canuse_server.transport.http.console.visit import Visit
from canuse_server.transport.http.console.words import PERIODS

MORE: Final = "more"
"""The button that asks for further rows."""
EMPTY_ROWS: Final = 4
MAX_ROWS: Final = MAX_FIELDS // 4 - 10
_PERIODS: Final = [
    ("" if number == pb.RESET_PERIOD_NEVER else name, PERIODS[number])
    for name, number in pb.ResetPeriod.items()
    if number in PERIODS
]
_ROW_ERRORS: Final = (ErrorReason.FEATURE_NOT_FOUND, ErrorReason.FEATURE_ARCHIVED)


def entry_rows(visit: Visit, entries: list[pb.PackageFeature], options: Options) -> list[list[Field]]:
    """Return the rows for some entries, or as many as have been sent; raise ApiError where they are too many."""
    if len(entries) > MAX_ROWS:
        text = f"must be at most {MAX_ROWS} to be changed here; it has {len(entries)}: use canuse catalog apply"
        raise invalid([("package.features", text)])
    sent = [int(name.partition(".")[2]) for name in visit.form if name.startswith("feature.") and name[8:].isdecimal()]
    # Also those that somebody has added since the form was shown.
    count = max(*sent, len(entries) - 1) + 1 if sent else len(entries) + EMPTY_ROWS
    if has_more(visit):
        count += EMPTY_ROWS
    padded = [*entries, *(pb.PackageFeature() for _ in range(MAX_ROWS))]
    return [_row(number, padded[number], options) for number in range(min(count, MAX_ROWS))]


def has_more(visit: Visit) -> bool:
    """Whether further rows are asked for, and nothing else."""
    return MORE in visit.form


def _row(number: int, entry: pb.PackageFeature, options: Options) -> list[Field]:
    of = f"of row {number + 1}"
    period = "" if entry.reset_period in (0, pb.RESET_PERIOD_NEVER) else pb.ResetPeriod.Name(entry.reset_period)
    return [
        Field(f"feature.{number}", f"Feature {of}", value=entry.feature_id, options=options),
        Field(
            *(f"limit.{number}", f"Limit {of}", "", "number", str(entry.limit) if entry.HasField("limit") else ""),
        ),
        Field(f"period.{number}", f"Period {of}", "", "select", period, options=_PERIODS),
        Field(f"overage.{number}", f"Overage {of}", "", "checkbox", CHECKED if entry.overage_enabled else ""),
    ]


@contextmanager
def read_entries(form: Form, package: pb.Package) -> Iterator[None]:
    """Add the entries that have been typed to a package; an error in the block is shown in the row that it is about."""
    names = ("feature_id", "limit", "reset_period", "overage_enabled")
    filled = [row for row in form.rows if row[0].value.strip()]
    for index, row in enumerate(filled):
        for each, name in zip(row, names, strict=True):
            each.path = f"package.features[{index}].{name}"
    for row in form.rows:
        # An emptied feature is removed, with what is left of its row.
        if row not in filled and not row[0].stored and any(each.value for each in row[1:]):
            row[0].path = "row"
            raise invalid([("row", "must be the id of a feature, as the row has a limit, a period or overage")])
        if row in filled:
            package.features.append(_entry(form, row))
    try:
        yield
    except ApiError as error:
        for row in filled:
            if row[0].value.strip() == error.metadata.get("feature_id"):
                row[0].reasons = _ROW_ERRORS
        raise


def _entry(form: Form, row: list[Field]) -> pb.PackageFeature:
    feature, limit, period, overage = (each.name for each in row)
    return pb.PackageFeature(
        feature_id=form.text(feature),
        limit=form.amount(limit),
        reset_period=form.enum(period, pb.ResetPeriod.Value, pb.RESET_PERIOD_UNSPECIFIED),
        overage_enabled=form.is_checked(overage),
    )
