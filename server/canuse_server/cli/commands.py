"""The commands that call a running server, through the client that other programs use too.

Their exit statuses: 0 done (for a question: yes), 1 no, 2 an error, which is one line on standard error. `exit_status`
has the others.
"""

from typing import Annotated

import typer

from canuse import v1
from canuse_server.cli import output as out
from canuse_server.cli.catalog.commands import catalog
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.credentials.keys import keys
from canuse_server.cli.credentials.tokens import tokens
from canuse_server.cli.events import events
from canuse_server.cli.exit_status import EXIT_NO
from canuse_server.cli.export import export_user
from canuse_server.cli.grants import grants
from canuse_server.cli.kana.command import import_kana
from canuse_server.cli.leases import extend_lease, leases, reserve, settle
from canuse_server.cli.migrate import migrate
from canuse_server.cli.operations.audit import audit
from canuse_server.cli.operations.health import health
from canuse_server.cli.operations.top import top
from canuse_server.cli.options import Feature, Json, User
from canuse_server.cli.resources import features, packages, users
from canuse_server.cli.storage.backup import backup, restore
from canuse_server.cli.storage.doctor import doctor
from canuse_server.cli.storage.export_usage import export_usage
from canuse_server.cli.subscriptions import subscriptions
from canuse_server.cli.totals import totals
from canuse_server.cli.user_changes import change_package, ensure_user


def register(app: typer.Typer) -> None:
    """Add the commands to the main command."""
    app.command("can-use")(can_use)
    app.command("record")(record)
    app.command("reserve")(reserve)
    app.command("leases")(leases)
    app.command("extend-lease")(extend_lease)
    app.command("settle")(settle)
    app.command("usage")(usage)
    app.command("events")(events)
    app.command("totals")(totals)
    app.command("subscriptions")(subscriptions)
    app.command("export-user")(export_user)
    app.command("migrate")(migrate)
    app.command("import-kana")(import_kana)
    app.command("backup")(backup)
    app.command("restore")(restore)
    app.command("export-usage")(export_usage)
    app.command("audit")(audit)
    app.command("doctor")(doctor)
    app.command("health")(health)
    app.command("top")(top)
    users.command("ensure")(ensure_user)
    users.command("change-package")(change_package)
    app.add_typer(users, name="users")
    app.add_typer(features, name="features")
    app.add_typer(packages, name="packages")
    app.add_typer(catalog, name="catalog")
    app.add_typer(grants, name="grants")
    app.add_typer(keys, name="keys")
    app.add_typer(tokens, name="tokens")


@with_connection
def can_use(
    connection: Connection,
    user: User,
    feature: Feature,
    *,
    delta: Annotated[int, typer.Option(help="The amount to use, in the feature's units.")] = 1,
    explain: Annotated[bool, typer.Option("--explain", help="Explain the answer.")] = False,
    as_json: Json = False,
) -> None:
    """Check whether a user may use a feature now. Exit status 0: yes, 1: no, 2: an error."""
    with connection.client() as client:
        answer = client.can_use(user, feature, delta, explain=explain)
    if as_json:
        out.print_json(out.as_json(answer.message))
    else:
        counts = f", {out.consumption_words(answer.consumption)}" if answer.consumption else ""
        retry = out.retry_words(answer.message)
        typer.echo(f"{out.yes_or_no(answer.access)}: {out.reason(answer.reason)}{counts}{retry}")
        for number, step in enumerate(answer.message.explanation.steps, start=1):
            typer.echo(f"{number:3}. {out.printable(step.text)}")
    if not answer:
        raise typer.Exit(EXIT_NO)


@with_connection
def record(
    connection: Connection,
    user: User,
    feature: Feature,
    *,
    delta: Annotated[
        int | None,
        typer.Option(
            help="The amount used, in the feature's units; a negative one reduces the total.", show_default="1"
        ),
    ] = None,
    set_total: Annotated[bool, typer.Option("--set", help="Make --delta the new total of the period.")] = False,
    event_id: Annotated[str | None, typer.Option(help="Idempotency key: a retry is not counted.")] = None,
    as_json: Json = False,
) -> None:
    """Record that a user used a feature. Exit status 1: not recorded, the user has no entitlement."""
    action = v1.USAGE_ACTION_SET if set_total else v1.USAGE_ACTION_ADD
    with connection.client() as client:
        answer = client.create_usage_event(user, feature, delta, action=action, event_id=event_id)
    if as_json:
        out.print_json(out.as_json(answer.message))
    elif answer.recorded:
        repeat = ", a repeat that was not counted again" if answer.replayed else ""
        counts = f", {out.consumption_words(answer.consumption)}" if answer.consumption else ""
        typer.echo(f"recorded {answer.applied_delta:+d}: {out.reason(answer.reason)}{counts}{repeat}")
        typer.echo(f"event id {out.printable(answer.event_id)}")
    else:
        typer.echo(f"not recorded: {out.reason(answer.reason)}")
    if not answer:
        raise typer.Exit(EXIT_NO)


@with_connection
def usage(
    connection: Connection,
    user: User,
    feature: Annotated[str | None, typer.Argument(metavar="FEATURE", help="One feature, with past periods.")] = None,
    *,
    locked: Annotated[
        bool, typer.Option("--locked", help="Show the features that the user does not have, too, with their packages.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a user's entitlements and usage: of all features now, or of one feature with past periods."""
    if feature is None:
        _usage_of_all(connection, user, locked, as_json)
    else:
        _usage_of_one(connection, user, feature, as_json)


def _usage_of_all(connection: Connection, user: str, locked: bool, as_json: bool) -> None:
    """Show every entitlement of a user, and on request the features that the user does not have."""
    with connection.client() as client:
        entitlements = list(client.list_entitlements(user, include_locked=locked))
    if as_json:
        out.print_json([out.as_json(entitlement.message) for entitlement in entitlements])
        return
    rows = (
        [
            entitlement.feature_id,
            out.yes_or_no(entitlement.access),
            out.reason(entitlement.reason),
            *out.consumption_cells(entitlement.consumption),
            *([", ".join(entitlement.package_ids)] if locked else []),
        ]
        for entitlement in entitlements
    )
    columns = ("feature", "access", "reason", "used", "reserved", "budget", "remaining", "resets at")
    out.print_table((*columns, "packages") if locked else columns, rows, empty=f"{user} has no entitlements")


def _usage_of_one(connection: Connection, user: str, feature: str, as_json: bool) -> None:
    """Show the current and the past periods of one feature."""
    with connection.client() as client:
        answer = client.show_usage(user, feature)
    if as_json:
        out.print_json(out.as_json(answer.message))
        return
    rows = []
    if answer.current:
        *amounts, resets_at = out.consumption_cells(answer.current)
        rows.append(["current", out.moment(answer.current.message, "period_start", ""), resets_at, *amounts])
    rows.extend(
        [
            "past",
            out.moment(past.message, "period_start", ""),
            out.moment(past.message, "period_end", ""),
            str(past.used),
            "",
            out.amount(past.message, "budget"),
            "",
        ]
        for past in answer.past
    )
    columns = ("period", "start", "end", "used", "reserved", "budget", "remaining")
    out.print_table(columns, rows, empty=f"{user} has no entitlement to {feature}, and has never used it")
