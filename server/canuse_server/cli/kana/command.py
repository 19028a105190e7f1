"""`canuse import-kana`: the catalogue, the users, their subscriptions and counts from Kana, under the same ids."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

import canuse
from canuse import v1
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.exit_status import EXIT_ERROR, tell
from canuse_server.cli.output import printable
from canuse_server.domain.subscriptions import ENDED
from canuse_server.kana.config import read_config
from canuse_server.kana.document import Stored, build

if TYPE_CHECKING:
    from canuse_server.cli.kana.source import Source

PAGE_SIZE: Final = 1000
MAX_PROBLEMS: Final = 20
"""Maximum number of problems that are told."""
_LABELS: Final = (("unitLabel", "unit_label"), ("unitLabelPlural", "unit_label_plural"))


@with_connection
def import_kana(
    connection: Connection,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files from Kana, YAML or JSON.")],
) -> None:
    """Import features, packages, users, subscriptions and counts from Kana.

    A file is what `kana pull` writes, or an answer of Kana's Admin API; docs/kana.md has the queries. What is there
    already becomes what the files say, so a second import changes nothing. A file with a mistake imports nothing;
    a count or subscription of something that is nowhere ends the import where it is reached.
    """
    # Imported here, since it takes a moment.
    from canuse_server.cli.kana.source import read_files  # noqa: PLC0415

    with connection.client() as client:
        source = read_files(files)
        request, problems = _catalogue(client, source)
        problems = [*source.problems, *problems]
        if problems:
            for problem in problems[:MAX_PROBLEMS]:
                tell(printable(problem))
            if len(problems) > MAX_PROBLEMS:
                tell(f"and {len(problems) - MAX_PROBLEMS} more")
            raise typer.Exit(EXIT_ERROR)
        changes = client.apply_catalog(request.features, request.packages, etag=request.etag).changes
        typer.echo(f"features and packages: {len(changes):,} changes")
        typer.echo(f"users: {_import_users(client, source):,} created or changed, {len(source.users):,} in total")
        subscribed = _subscribe(client, source)
        typer.echo(f"subscriptions: {subscribed:,} created, {len(source.subscriptions):,} in total")
        for usage in source.usage:
            client.create_usage_event(usage.user_id, usage.feature_id, usage.used, action=v1.USAGE_ACTION_SET)
        typer.echo(f"counts: {len(source.usage):,} set")


def _catalogue(client: canuse.Client, source: "Source") -> tuple[v1.ApplyCatalogRequest, list[str]]:
    """Return the catalogue of the files as a document, and what is wrong with it."""
    etag = client.apply_catalog().etag
    features = {feature.id: feature for feature in client.list_features(page_size=PAGE_SIZE)}
    latest = {package.id: package for package in client.list_packages(page_size=PAGE_SIZE)}
    shown = {package.id: _shown(client, package) for package in latest.values()}
    config = read_config(source.config, {feature.id: feature.type for feature in features.values()})
    request, problems = build(config, Stored(features, latest, shown))
    request.etag = etag
    for feature in request.features:
        if more := source.features.get(feature.id):
            _set_metadata(feature, more["metadata"])
            for sent, field in _LABELS:
                if isinstance(more.get(sent), str):
                    setattr(feature, field, more[sent])
    changed: set[str] = set()
    for package in request.packages:
        # The second one of an id is a draft that stays.
        if package.id not in changed and (more := source.packages.get(package.id)):
            _set_metadata(package, more["metadata"])
        changed.add(package.id)
    known = latest.keys() | {package.id for package in config.packages}
    lost = [
        f"user {each.user_id!r} is subscribed to package {each.package_id!r}, which is in no file"
        for each in source.subscriptions
        if each.package_id not in known
    ]
    return request, [*problems, *lost]


def _shown(client: canuse.Client, latest: v1.Package) -> v1.Package:
    """Return the version of a package that a file shows: a draft only while no version is published."""
    if latest.status == v1.PACKAGE_STATUS_DRAFT and latest.published_version:
        return client.get_package(latest.id, version=latest.published_version)
    return latest


def _set_metadata(item: v1.Feature | v1.Package, metadata: dict[str, str]) -> None:
    item.metadata.clear()
    item.metadata.update(metadata)


def _import_users(client: canuse.Client, source: "Source") -> int:
    """Create the users, or change them; return how many were not yet as they are."""
    changed = 0
    for user in source.users:
        answer = client.ensure_user(
            user.id, name=user.name, email=user.email, billing_id=user.billing_id, metadata=user.metadata
        )
        changed += answer.created or answer.updated
    return changed


def _subscribe(client: canuse.Client, source: "Source") -> int:
    """Subscribe the users to packages that they do not have; return how many subscriptions are new."""
    created = 0
    for user_id, wanted in _by_user(source):
        held = {each.package_id for each in client.list_subscriptions(user_id) if int(each.status) not in ENDED}
        for package_id, status in wanted.items():
            if package_id not in held:
                client.subscribe(user_id, [package_id], status=status)
                created += 1
    return created


def _by_user(source: "Source") -> Iterator[tuple[str, dict[str, v1.SubscriptionStatus.ValueType]]]:
    """Yield the users, each with the packages and the statuses of the subscriptions."""
    wanted: dict[str, dict[str, v1.SubscriptionStatus.ValueType]] = {}
    for subscription in source.subscriptions:
        wanted.setdefault(subscription.user_id, {})[subscription.package_id] = subscription.status
    yield from wanted.items()
