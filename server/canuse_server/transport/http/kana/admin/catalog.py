"""Features and packages of the Admin API."""

from typing import Any, Final

from ariadne import MutationType, ObjectType, QueryType

from canuse import v1
from canuse_server.kana.metadata import from_stored, to_stored
from canuse_server.transport.http.kana import words
from canuse_server.transport.http.kana.admin.changes import update_package_metadata
from canuse_server.transport.http.kana.catalog import Entry
from canuse_server.transport.http.kana.errors import KanaError
from canuse_server.transport.http.kana.execution import Info
from canuse_server.transport.http.kana.work import Work

_query, _mutation = QueryType(), MutationType()
_feature, _package, _package_feature = ObjectType("Feature"), ObjectType("Package"), ObjectType("PackageFeature")
BOUND: Final = (_query, _mutation, _feature, _package, _package_feature)
_STATUSES: Final = {
    "DRAFT": v1.PACKAGE_STATUS_DRAFT,
    "PUBLISHED": v1.PACKAGE_STATUS_PUBLISHED,
    "ARCHIVED": v1.PACKAGE_STATUS_ARCHIVED,
    "ALL": None,
}
_TEXTS: Final = ("name", "unit_label", "unit_label_plural")


@_query.field("feature")
async def _get_feature(_: Any, info: Info, id: str) -> v1.Feature:  # noqa: A002 - Kana's name
    work: Work = info.context
    return await work.catalog.feature(id)


@_query.field("features")
async def _features(_: Any, info: Info) -> Any:
    work: Work = info.context
    return work.listed([feature for feature in await work.catalog.features() if not feature.archived])


@_query.field("package")
async def _get_package(_: Any, info: Info, id: str, **__: Any) -> v1.Package:  # noqa: A002
    work: Work = info.context
    return await work.catalog.package(id)


@_query.field("packages")
async def _packages(_: Any, info: Info, status: str | None = None, **__: Any) -> Any:
    work: Work = info.context
    status = status or "PUBLISHED"
    if status not in _STATUSES:
        raise KanaError(f"status: must be one of {', '.join(_STATUSES)}; {status[:80]!r} was sent")
    wanted = _STATUSES[status]
    packages = await work.catalog.packages()
    return work.listed([package for package in packages if wanted in (None, package.status)])


@_query.field("plans")
async def _plans(_: Any, info: Info) -> Any:
    return await _packages(None, info)


@_mutation.field("createFeature")
async def _create_feature(_: Any, info: Info, **sent: Any) -> v1.Feature:
    work: Work = info.context
    given = sent.get("input") or {"id": sent.get("feature_identifier"), "name": sent.get("name"), "type": sent["type"]}
    if not given["id"]:
        raise KanaError("createFeature: input is missing, and featureIdentifier, which the older form has")
    feature = v1.Feature(
        id=given["id"],
        type=v1.FeatureType.Value(f"FEATURE_TYPE_{given['type']}"),
        metadata=to_stored(given.get("metadata")),
    )
    for name in _TEXTS:
        setattr(feature, name, given.get(name) or "")
    request = v1.CreateFeatureRequest(feature=feature)
    return (await work.calls("CatalogService/CreateFeature", request, v1.CreateFeatureResponse)).feature


@_mutation.field("updateFeature")
async def _update_feature(_: Any, info: Info, input: dict[str, Any], id: str | None = None) -> v1.Feature:  # noqa: A002
    work: Work = info.context
    request = v1.UpdateFeatureRequest(feature=v1.Feature(id=_id_of("updateFeature", work, id)))
    for name, value in input.items():
        request.update_mask.paths.append(name)
        if name == "metadata":
            request.feature.metadata.update(to_stored(value))
        else:
            setattr(request.feature, name, value or "")
    return (await work.calls("CatalogService/UpdateFeature", request, v1.UpdateFeatureResponse)).feature


@_mutation.field("createPackage")
async def _create_package(_: Any, info: Info, input: dict[str, Any]) -> v1.Package:  # noqa: A002
    work: Work = info.context
    package = v1.Package(
        id=input["id"],
        name=input.get("name") or "",
        type=v1.PACKAGE_TYPE_ADD_ON if input.get("is_addon") else v1.PACKAGE_TYPE_BASE,
        features=[_entry(item) for item in input["features"]],
        metadata=to_stored(input.get("metadata")),
    )
    request = v1.CreatePackageRequest(package=package)
    return (await work.calls("CatalogService/CreatePackage", request, v1.CreatePackageResponse)).package


def _entry(sent: dict[str, Any]) -> v1.PackageFeature:
    entitlement = sent.get("entitlement")
    if entitlement is None:
        return v1.PackageFeature(feature_id=sent["id"])
    return v1.PackageFeature(
        feature_id=sent["id"],
        limit=entitlement.get("limit"),
        reset_period=v1.ResetPeriod.Value(f"RESET_PERIOD_{entitlement['reset_period']}"),
        overage_enabled=bool(entitlement.get("overage_enabled")),
    )


@_mutation.field("updatePackage")
async def _update_package(_: Any, info: Info, input: dict[str, Any], id: str | None = None) -> v1.Package:  # noqa: A002
    work: Work = info.context
    package_id = _id_of("updatePackage", work, id)
    if "metadata" in input:
        await update_package_metadata(work, package_id, to_stored(input["metadata"]))
    return await work.catalog.package(package_id)


def _id_of(mutation: str, work: Work, sent: str | None) -> str:
    """Return the id that a mutation is about: Kana's documentation has it in the variables only."""
    found = work.variables.get("id") if sent is None else sent
    if not isinstance(found, str):
        raise KanaError(f"{mutation}: the argument id is missing, and there is no variable id that is a string")
    return found


@_feature.field("identifier")
def _identifier(feature: v1.Feature, _: Info) -> str:
    return feature.id


@_feature.field("name")
@_package.field("name")
def _name(item: v1.Feature | v1.Package, _: Info) -> str:
    return item.name or item.id


@_feature.field("type")
def _type(feature: v1.Feature, _: Info) -> str:
    return words.feature_type(feature)


@_feature.field("metadata")
@_package.field("metadata")
def _metadata(item: v1.Feature | v1.Package, _: Info) -> Any:
    return from_stored(item.metadata)


@_feature.field("unitLabel")
def _unit_label(feature: v1.Feature, _: Info) -> str | None:
    return feature.unit_label or None


@_feature.field("unitLabelPlural")
def _unit_label_plural(feature: v1.Feature, _: Info) -> str | None:
    return feature.unit_label_plural or None


@_feature.field("packages")
async def _packages_of(feature: v1.Feature, info: Info) -> Any:
    work: Work = info.context
    return work.listed((await work.catalog.packages_by_feature()).get(feature.id, []))


@_package.field("isAddon")
def _is_addon(package: v1.Package, _: Info) -> bool:
    return words.is_addon(package)


@_package.field("status")
def _status(package: v1.Package, _: Info) -> str:
    return words.word(v1.PackageStatus, package.status, "PACKAGE_STATUS_")


@_package.field("updatedAt")
def _updated_at(package: v1.Package, _: Info) -> str:
    return words.date_time(package.created_at)


@_package.field("prices")
def _prices(_: v1.Package, __: Info) -> list[Any]:
    return []


@_package.field("features")
async def _features_of(package: v1.Package, info: Info) -> Any:
    work: Work = info.context
    return work.listed(await work.catalog.entries(package))


@_package_feature.field("limit")
def _limit(item: Entry, _: Info) -> int | None:
    return item.entry.limit if item.entry.HasField("limit") else None


def _of_feature(field: str, resolve: Any) -> None:
    """Resolve a field of a feature in a package as the same field of the feature."""
    _package_feature.set_field(field, lambda item, info: resolve(item.feature, info))


for _field, _resolve in (
    ("id", _identifier),
    ("name", _name),
    ("type", _type),
    ("unitLabel", _unit_label),
    ("unitLabelPlural", _unit_label_plural),
    ("metadata", _metadata),
):
    _of_feature(_field, _resolve)
