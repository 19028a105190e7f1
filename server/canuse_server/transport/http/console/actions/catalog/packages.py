"""Creating and changing a package as a draft, publishing the draft, and archiving the package."""

from typing import Final

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.transport.http.console.actions.action import Action
from canuse_server.transport.http.console.actions.catalog.dry_run import NAMED, dry_run, publishing
from canuse_server.transport.http.console.actions.catalog.entries import entry_rows, has_more, read_entries
from canuse_server.transport.http.console.actions.choices import enum_options, features
from canuse_server.transport.http.console.actions.form import Field, Form
from canuse_server.transport.http.console.actions.metadata import metadata_field, read_metadata
from canuse_server.transport.http.console.addresses import address
from canuse_server.transport.http.console.pages.packages import MAX_FEATURES, Row, differences
from canuse_server.transport.http.console.pages.user import features_of
from canuse_server.transport.http.console.visit import Redirect, Visit
from canuse_server.transport.http.console.words import entry_words, package_status_words, package_type_words

_TYPES: Final = enum_options(pb.PackageType, "PACKAGE_TYPE_")


async def _get(visit: Visit, package_id: str) -> pb.Package:
    request = pb.GetPackageRequest(package_id=package_id)
    return (await visit.call("CatalogService/GetPackage", request, pb.GetPackageResponse)).package


def _type(package: pb.Package) -> Field:
    value = pb.PackageType.Name(package.type or pb.PACKAGE_TYPE_BASE)
    hint = "Base: a plan, of which a user has at most one. Add on: a user can have any number."
    return Field("type", "Type", "package.type", "select", value, hint, options=_TYPES)


async def _create_form(visit: Visit) -> Form:
    package_id = Field(
        *("package", "Id", "package.id"),
        hint="It cannot change.",
        required=True,
        reasons=(ErrorReason.PACKAGE_EXISTS,),
    )
    fields = [package_id, Field("name", "Name", "package.name"), _type(pb.Package())]
    return Form(
        title="Create a package",
        subject="",
        says=["The package is created as a draft: nobody can be subscribed to it before it is published."],
        fields=[*fields, metadata_field("package.metadata", {})],
        rows=entry_rows(visit, [], await features(visit)),
        button="Create the draft",
        back=address("/packages"),
        template="actions/package.html",
    )


async def _create(visit: Visit, form: Form) -> Redirect | None:
    if has_more(visit):
        return None
    package = _typed(form, form.text("package"))
    package.type = form.enum("type", pb.PackageType.Value, pb.PACKAGE_TYPE_UNSPECIFIED)
    try:
        with read_entries(form, package):
            request = pb.CreatePackageRequest(package=package)
            await visit.call("CatalogService/CreatePackage", request, pb.CreatePackageResponse)
    except ApiError as error:
        # The form was sent twice if the package is what it says.
        if error.reason is not ErrorReason.PACKAGE_EXISTS or not visit.may("CatalogService/GetPackage"):
            raise
        if not _is_same(await _get(visit, package.id), package):
            raise
    is_shown = visit.may("CatalogService/GetPackage")
    done = "package-created"
    return Redirect(address("/package", id=package.id, done=done) if is_shown else address("", done=done))


def _is_same(found: pb.Package, package: pb.Package) -> bool:
    for name in ("status", "version", "published_version", "created_at"):
        found.ClearField(name)
    sent = pb.Package()
    sent.CopyFrom(package)
    for entry in (*found.features, *sent.features):
        entry.reset_period = entry.reset_period or pb.RESET_PERIOD_NEVER
    return found == sent


def _typed(form: Form, package_id: str) -> pb.Package:
    return pb.Package(id=package_id, name=form.text("name"), metadata=read_metadata(form.field("metadata")))


async def _edit_form(visit: Visit) -> Form:
    package = await _get(visit, visit.query("id"))
    is_draft = package.status == pb.PACKAGE_STATUS_DRAFT
    says = ["The draft is changed. Nobody is subscribed to it before it is published."]
    if not is_draft:
        says = [f"Version {package.version} stays as it is. This becomes a draft of version {package.version + 1}."]
    fields = [Field("name", "Name", "package.name", value=package.name)]
    # The type of a package with a published version cannot change.
    if not package.published_version:
        fields.append(_type(package))
    return Form(
        title="Change a package",
        subject=package.id,
        says=says,
        fields=[*fields, metadata_field("package.metadata", package.metadata)],
        rows=entry_rows(visit, list(package.features), await features(visit)),
        button="Save the draft",
        back=address("/package", id=package.id),
        replaces={"Version": f"{package.version}, {package_status_words(package.status).lower()}"},
        template="actions/package.html",
    )


async def _edit(visit: Visit, form: Form) -> Redirect | None:
    if has_more(visit) or form.is_outdated():
        return None
    package = _typed(form, form.subject)
    fields = ["name", "metadata", "features"]
    if any(each.name == "type" for each in form.fields):
        package.type = form.enum("type", pb.PackageType.Value, pb.PACKAGE_TYPE_UNSPECIFIED)
        fields.append("type")
    with read_entries(form, package):
        request = pb.UpdatePackageRequest(package=package)
        request.update_mask.paths.extend(fields)
        await visit.call("CatalogService/UpdatePackage", request, pb.UpdatePackageResponse)
    return Redirect(address("/package", id=form.subject, done="package-changed"))


async def _publish_form(visit: Visit) -> Form:
    package = await _get(visit, visit.query("id"))

    async def found() -> dict[str, object]:
        losses = await dry_run(visit, publishing(package), named=NAMED)
        return {"found": losses, "rows": await _differences(visit, package)}

    return Form(
        title="Publish a package",
        subject=package.id,
        says=[
            f"New subscriptions get version {package.version}, and it never changes again.",
            "Publishing takes nothing from anybody: existing subscriptions keep their version until they are moved.",
        ],
        button=f"Publish version {package.version}",
        back=address("/package", id=package.id),
        template="actions/dry_run.html",
        values={
            "is_at_once": False,
            "before": package.published_version,
            "all_losses": address("/package/losses", id=package.id),
        },
        more=found,
        replaces=_published_content(package),
    )


def _published_content(package: pb.Package) -> dict[str, str]:
    """Return what would be published, for people."""
    values = {"Version": str(package.version), "Name": package.name, "Type": package_type_words(package.type)}
    values["Metadata"] = metadata_field("", package.metadata).value
    return values | {entry.feature_id: entry_words(entry, None) for entry in package.features}


async def _differences(visit: Visit, package: pb.Package) -> list[Row]:
    """Return what changes from the published version to this one; nothing if there is none."""
    if not package.published_version:
        return []
    request = pb.GetPackageRequest(package_id=package.id, version=package.published_version)
    before = (await visit.call("CatalogService/GetPackage", request, pb.GetPackageResponse)).package
    ids = [entry.feature_id for each in (before, package) for entry in each.features]
    rows = differences(before, package, await features_of(visit, ids[:MAX_FEATURES]))
    return [row for row in rows if row.kind != "same"]


async def _publish(visit: Visit, form: Form) -> Redirect | None:
    if form.is_outdated():
        return None
    request = pb.PublishPackageRequest(package_id=form.subject)
    await visit.call("CatalogService/PublishPackage", request, pb.PublishPackageResponse)
    return Redirect(address("/package", id=form.subject, done="published"))


async def _archive_form(visit: Visit) -> Form:
    package = await _get(visit, visit.query("id"))
    return Form(
        title="Archive a package",
        subject=package.id,
        says=[
            "Nobody can be subscribed to the package any more, and a draft of it is archived too.",
            "This cannot be undone.",
            "Existing subscriptions stay, with what they give.",
        ],
        fields=[Field("confirm", f"Type the id of the package to confirm: {package.id}", required=True)],
        button="Archive for good",
        back=address("/package", id=package.id),
        is_dangerous=True,
    )


async def _archive(visit: Visit, form: Form) -> Redirect:
    form.confirm()
    request = pb.ArchivePackageRequest(package_id=form.subject)
    await visit.call("CatalogService/ArchivePackage", request, pb.ArchivePackageResponse)
    return Redirect(address("/package", id=form.subject, done="package-archived"))


_READS: Final = "CatalogService/GetPackage"
CREATE: Final = Action(("CatalogService/CreatePackage",), _create_form, _create)
EDIT: Final = Action(("CatalogService/UpdatePackage", _READS), _edit_form, _edit)
PUBLISH: Final = Action(
    ("CatalogService/PublishPackage", "CatalogService/ApplyCatalog", _READS), _publish_form, _publish
)
ARCHIVE: Final = Action(("CatalogService/ArchivePackage", _READS), _archive_form, _archive)
