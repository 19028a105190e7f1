"""The commands that list and show users, features and packages."""

from itertools import islice
from typing import Annotated

import typer

from canuse import v1
from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.options import Feature, Json, Limit, Package, User

users = typer.Typer(no_args_is_help=True, help="List and show users.")
features = typer.Typer(no_args_is_help=True, help="List and show features.")
packages = typer.Typer(no_args_is_help=True, help="List and show packages.")


@users.command("list")
@with_connection
def list_users(
    connection: Connection,
    email: Annotated[str | None, typer.Option(help="Only users with exactly this e-mail address.")] = None,
    billing_id: Annotated[str | None, typer.Option(help="Only users with exactly this billing id.")] = None,
    id_prefix: Annotated[str | None, typer.Option(help="Only users whose id begins with this.")] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """List users: all, or those that match all given filters."""
    with connection.client() as client:
        listed = client.list_users(email=email, billing_id=billing_id, id_prefix=id_prefix)
        found = list(islice(listed, limit))
    if as_json:
        out.print_json([out.as_json(user) for user in found])
        return
    rows = ([user.id, user.name, user.email, out.yes_or_no(user.disabled), _created(user)] for user in found)
    out.print_table(("user", "name", "email", "disabled", "created at"), rows, empty="no users")


@users.command("show")
@with_connection
def show_user(connection: Connection, user_id: User, as_json: Json = False) -> None:
    """Show a user and their subscriptions."""
    with connection.client() as client:
        user = client.get_user(user_id)
        subscriptions = list(client.list_subscriptions(user_id))
    if as_json:
        out.print_json(out.as_json(user) | {"subscriptions": [out.as_json(each) for each in subscriptions]})
        return
    out.print_fields(
        {
            "user": user.id,
            "name": user.name,
            "email": user.email,
            "billing id": user.billing_id,
            "metadata": out.pairs(user.metadata),
            "disabled": out.yes_or_no(user.disabled),
            "created at": _created(user),
        }
    )
    typer.echo()
    rows = (
        [
            each.id,
            each.package_id,
            str(each.package_version),
            out.enum_name(v1.SubscriptionStatus, each.status, "SUBSCRIPTION_STATUS_"),
            out.moment(each, "started_at", ""),
            out.moment(each, "trial_end", ""),
            out.moment(each, "cancel_at", ""),
        ]
        for each in subscriptions
    )
    columns = ("subscription", "package", "version", "status", "started at", "trial end", "cancel at")
    out.print_table(columns, rows, empty="no subscriptions")


@features.command("list")
@with_connection
def list_features(connection: Connection, limit: Limit = None, as_json: Json = False) -> None:
    """List features, including archived ones."""
    with connection.client() as client:
        found = list(islice(client.list_features(), limit))
    if as_json:
        out.print_json([out.as_json(feature) for feature in found])
        return
    rows = ([each.id, each.name, _feature_type(each), each.unit_label, out.yes_or_no(each.archived)] for each in found)
    out.print_table(("feature", "name", "type", "unit", "archived"), rows, empty="no features yet")


@features.command("show")
@with_connection
def show_feature(connection: Connection, feature_id: Feature, as_json: Json = False) -> None:
    """Show a feature."""
    with connection.client() as client:
        feature = client.get_feature(feature_id)
    if as_json:
        out.print_json(out.as_json(feature))
        return
    out.print_fields(
        {
            "feature": feature.id,
            "name": feature.name,
            "type": _feature_type(feature),
            "unit": feature.unit_label,
            "units": feature.unit_label_plural,
            "metadata": out.pairs(feature.metadata),
            "archived": out.yes_or_no(feature.archived),
            "store unavailable": out.enum_name(v1.OnUnavailable, feature.on_unavailable, "ON_UNAVAILABLE_"),
            "created at": _created(feature),
        }
    )


@packages.command("list")
@with_connection
def list_packages(connection: Connection, limit: Limit = None, as_json: Json = False) -> None:
    """List packages, in every status."""
    with connection.client() as client:
        found = list(islice(client.list_packages(), limit))
    if as_json:
        out.print_json([out.as_json(package) for package in found])
        return
    rows = (
        [
            each.id,
            each.name,
            *_type_and_status(each),
            str(each.version),
            ", ".join(feature.feature_id for feature in each.features),
        ]
        for each in found
    )
    out.print_table(("package", "name", "type", "status", "version", "features"), rows, empty="no packages yet")


@packages.command("show")
@with_connection
def show_package(connection: Connection, package_id: Package, as_json: Json = False) -> None:
    """Show a package and its features."""
    with connection.client() as client:
        package = client.get_package(package_id)
    if as_json:
        out.print_json(out.as_json(package))
        return
    kind, status = _type_and_status(package)
    out.print_fields(
        {
            "package": package.id,
            "name": package.name,
            "type": kind,
            "status": status,
            "version": str(package.version),
            "metadata": out.pairs(package.metadata),
            "created at": _created(package),
        }
    )
    typer.echo()
    rows = (
        [
            each.feature_id,
            out.amount(each, "limit"),
            out.enum_name(v1.ResetPeriod, each.reset_period or v1.RESET_PERIOD_NEVER, "RESET_PERIOD_"),
            out.yes_or_no(each.overage_enabled),
        ]
        for each in package.features
    )
    out.print_table(("feature", "limit", "reset period", "overage"), rows, empty="no features in it")


def _created(resource: v1.User | v1.Feature | v1.Package) -> str:
    """Return when a resource was created."""
    return out.moment(resource, "created_at", "")


def _feature_type(feature: v1.Feature) -> str:
    """Return the name of a feature's type."""
    return out.enum_name(v1.FeatureType, feature.type, "FEATURE_TYPE_")


def _type_and_status(package: v1.Package) -> tuple[str, str]:
    """Return the names of a package's type and status."""
    return (
        out.enum_name(v1.PackageType, package.type, "PACKAGE_TYPE_"),
        out.enum_name(v1.PackageStatus, package.status, "PACKAGE_STATUS_"),
    )
