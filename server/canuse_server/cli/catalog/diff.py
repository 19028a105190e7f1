"""Prints the changes of a catalogue for people."""

from itertools import groupby
from typing import Final, Literal

import typer

from canuse import v1
from canuse_server.cli import output as out

_WORDS: Final = {
    v1.CATALOG_ACTION_CREATE: ("+", "create"),
    v1.CATALOG_ACTION_UPDATE: ("~", "change"),
    v1.CATALOG_ACTION_PUBLISH: ("~", "publish"),
    v1.CATALOG_ACTION_ARCHIVE: ("-", "archive"),
    v1.CATALOG_ACTION_DISCARD_DRAFT: ("-", "discard the draft of"),
}
_NOT_SET: Final = "not set"


def print_plan(answer: v1.ApplyCatalogResponse, *, done: bool) -> None:
    """Print the changes, by item; then who would lose access. `done`: they were made."""
    if not answer.changes:
        typer.echo("no changes: the catalogue is as the file says")
    for (kind, item_id), changes in groupby(answer.changes, _item):
        steps = list(changes)
        sign, _ = _WORDS.get(steps[0].action, ("?", ""))
        typer.echo(f"{sign} {kind} {out.printable(item_id)}: {', '.join(map(_step, steps))}")
        for change in steps:
            for field in change.fields:
                typer.echo(f"    {out.printable(field.field)}: {_value(field.old_value)} -> {_value(field.new_value)}")
    for loss in answer.access_losses:
        typer.echo(f"! {_loss(loss)}")
    for named in answer.user_losses:
        of = f"user {out.printable(named.user_id)}: {out.printable(named.feature_id)}"
        typer.echo(f"    {of}: {_given(named, 'before', 'by grants')} -> {_given(named, 'after', 'nothing')}")
    if answer.changes:
        count = len({_item(change) for change in answer.changes})
        typer.echo(
            f"{count:,} {'item' if count == 1 else 'items'} {'changed' if done else 'to change'}, etag {answer.etag}"
        )


def shrinking_summary(answer: v1.ApplyCatalogResponse) -> str:
    """Return who would lose access, in one line."""
    first, *others = answer.access_losses
    more = f", and {len(others):,} more such losses" if others else ""
    return f"{_loss(first)}{more}"


def _loss(loss: v1.CatalogAccessLoss) -> str:
    users = f"{loss.users:,} {'user' if loss.users == 1 else 'users'}"
    feature = out.printable(loss.feature_id)
    if not loss.package_id:
        return f"{users} would lose {feature} at once, as it would be archived"
    return f"{users} would get less of {feature} when package {out.printable(loss.package_id)} is migrated"


def _given(loss: v1.CatalogUserLoss, which: Literal["before", "after"], absent: str) -> str:
    """Return what packages give of the feature, as a file of the catalogue says it."""
    if not loss.HasField(which):
        return absent
    given: v1.PackageFeature = getattr(loss, which)
    # A binary feature has no period.
    if given.reset_period == v1.RESET_PERIOD_UNSPECIFIED:
        return "on"
    period = v1.ResetPeriod.Name(given.reset_period).removeprefix("RESET_PERIOD_").lower()
    limit = f"{given.limit}/{period}" if given.HasField("limit") else "unlimited"
    return f"{limit}, overage" if given.overage_enabled and given.HasField("limit") else limit


def _item(change: v1.CatalogChange) -> tuple[str, str]:
    kind = change.WhichOneof("item")
    return ("feature", change.feature_id) if kind == "feature_id" else ("package", change.package_id)


def _step(change: v1.CatalogChange) -> str:
    _, word = _WORDS.get(change.action, ("?", f"action {change.action}"))
    return f"{word} version {change.version}" if change.version else word


def _value(value: str) -> str:
    return out.printable(value) if value else _NOT_SET
