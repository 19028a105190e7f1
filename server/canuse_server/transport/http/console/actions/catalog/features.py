"""Creating, changing and archiving a feature."""

from typing import Final

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.transport.http.console.actions.action import Action
from canuse_server.transport.http.console.actions.catalog.dry_run import NAMED, archiving, dry_run
from canuse_server.transport.http.console.actions.choices import enum_options
from canuse_server.transport.http.console.actions.form import Field, Form
from canuse_server.transport.http.console.actions.metadata import metadata_field, read_metadata
from canuse_server.transport.http.console.addresses import address
from canuse_server.transport.http.console.visit import Redirect, Visit

_TYPES: Final = enum_options(pb.FeatureType, "FEATURE_TYPE_")
_ON_UNAVAILABLE: Final = enum_options(pb.OnUnavailable, "ON_UNAVAILABLE_")
_EDITED: Final = ("name", "unit_label", "unit_label_plural", "metadata", "on_unavailable")


def _properties(feature: pb.Feature) -> list[Field]:
    fallback = feature.on_unavailable or pb.ON_UNAVAILABLE_DENY
    return [
        Field("name", "Name", "feature.name", value=feature.name),
        Field("unit", "One unit", "feature.unit_label", value=feature.unit_label, hint="Such as message."),
        Field(
            *("units", "Several units", "feature.unit_label_plural"),
            value=feature.unit_label_plural,
            hint="Such as messages.",
        ),
        Field(
            *("on_unavailable", "While the store is unavailable, a check says", "feature.on_unavailable", "select"),
            value=pb.OnUnavailable.Name(fallback),
            options=_ON_UNAVAILABLE,
        ),
        metadata_field("feature.metadata", feature.metadata),
    ]


def _typed(form: Form, feature_id: str) -> pb.Feature:
    return pb.Feature(
        id=feature_id,
        name=form.text("name"),
        unit_label=form.text("unit"),
        unit_label_plural=form.text("units"),
        on_unavailable=form.enum("on_unavailable", pb.OnUnavailable.Value, pb.ON_UNAVAILABLE_UNSPECIFIED),
        metadata=read_metadata(form.field("metadata")),
    )


async def _create_form(_visit: Visit) -> Form:
    fields = [
        Field(
            *("feature", "Id", "feature.id"),
            hint="By which your service asks for it. It cannot change.",
            required=True,
            reasons=(ErrorReason.FEATURE_EXISTS,),
        ),
        Field(
            *("type", "Type", "feature.type", "select"),
            hint="Consumable: its use is counted. Binary: on or off. It cannot change.",
            required=True,
            options=_TYPES,
        ),
    ]
    return Form(
        title="Create a feature",
        subject="",
        says=["Nobody has the feature before a package that they are subscribed to, or a grant, gives it."],
        fields=[*fields, *_properties(pb.Feature())],
        button="Create",
        back=address("/features"),
    )


async def _create(visit: Visit, form: Form) -> Redirect:
    feature = _typed(form, form.text("feature"))
    feature.type = form.enum("type", pb.FeatureType.Value, pb.FEATURE_TYPE_UNSPECIFIED)
    try:
        await visit.call(
            "CatalogService/CreateFeature", pb.CreateFeatureRequest(feature=feature), pb.CreateFeatureResponse
        )
    except ApiError as error:
        # The form was sent twice if the feature is what it says.
        if error.reason is not ErrorReason.FEATURE_EXISTS or not visit.may("CatalogService/GetFeature"):
            raise
        found = await _get(visit, feature.id)
        found.ClearField("created_at")
        if found != feature:
            raise
    return Redirect(_page(visit, feature.id, "feature-created"))


def _page(visit: Visit, feature_id: str, done: str) -> str:
    """Return the address of a feature; a key that writes the catalogue may not be one that reads it."""
    is_shown = visit.may("CatalogService/GetFeature")
    return address("/feature", id=feature_id, done=done) if is_shown else address("", done=done)


async def _get(visit: Visit, feature_id: str) -> pb.Feature:
    request = pb.GetFeatureRequest(feature_id=feature_id)
    return (await visit.call("CatalogService/GetFeature", request, pb.GetFeatureResponse)).feature


async def _edit_form(visit: Visit) -> Form:
    feature = await _get(visit, visit.query("id"))
    return Form(
        title="Change a feature",
        subject=feature.id,
        says=["What users may use, and how much, stays as it is."],
        fields=_properties(feature),
        button="Save",
        back=address("/feature", id=feature.id),
        replaces={},
    )


async def _edit(visit: Visit, form: Form) -> Redirect | None:
    if form.is_outdated():
        return None
    request = pb.UpdateFeatureRequest(feature=_typed(form, form.subject))
    request.update_mask.paths.extend(_EDITED)
    await visit.call("CatalogService/UpdateFeature", request, pb.UpdateFeatureResponse)
    return Redirect(address("/feature", id=form.subject, done="feature-changed"))


async def _archive_form(visit: Visit) -> Form:
    feature = await _get(visit, visit.query("id"))

    async def found() -> dict[str, object]:
        return {"found": await dry_run(visit, archiving(feature), named=NAMED)}

    return Form(
        title="Archive a feature",
        subject=feature.id,
        says=["From now on nobody may use the feature. This cannot be undone."],
        fields=[Field("confirm", f"Type the id of the feature to confirm: {feature.id}", required=True)],
        button="Archive for good",
        back=address("/feature", id=feature.id),
        is_dangerous=True,
        template="actions/dry_run.html",
        values={"is_at_once": True, "rows": [], "all_losses": address("/feature/losses", id=feature.id)},
        more=found,
    )


async def _archive(visit: Visit, form: Form) -> Redirect:
    form.confirm()
    request = pb.ArchiveFeatureRequest(feature_id=form.subject)
    await visit.call("CatalogService/ArchiveFeature", request, pb.ArchiveFeatureResponse)
    return Redirect(address("/feature", id=form.subject, done="feature-archived"))


_READS: Final = "CatalogService/GetFeature"
CREATE: Final = Action(("CatalogService/CreateFeature",), _create_form, _create)
EDIT: Final = Action(("CatalogService/UpdateFeature", _READS), _edit_form, _edit)
ARCHIVE: Final = Action(("CatalogService/ArchiveFeature", _READS), _archive_form, _archive)
