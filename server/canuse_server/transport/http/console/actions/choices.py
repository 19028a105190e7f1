"""What can be chosen in forms: the features and packages of the catalogue, as far as the visitor may see them."""

from typing import Final

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.transport.http.console.actions.form import Field, Options
from canuse_server.transport.http.console.visit import Visit

_PAGE: Final = 1000
_MAX_SELECT: Final = 100
"""Above this number, an id is typed, with proposals: a list would be too long to choose from."""


async def published_packages(visit: Visit) -> Options:
    """Return the packages to which one can subscribe."""
    packages = await visit.call_if_may(
        "CatalogService/ListPackages", pb.ListPackagesRequest(page_size=_PAGE), pb.ListPackagesResponse
    )
    return [
        (each.id, f"{each.name} ({each.id})" if each.name else each.id)
        for each in (packages.packages if packages else ())
        if each.published_version and each.status != pb.PACKAGE_STATUS_ARCHIVED
    ]


async def features(visit: Visit, kind: int | None = None) -> Options:
    """Return the features that are not archived: all, or those of a type."""
    found = await visit.call_if_may(
        "CatalogService/ListFeatures", pb.ListFeaturesRequest(page_size=_PAGE), pb.ListFeaturesResponse
    )
    return [
        (each.id, f"{each.name} ({each.id})" if each.name else each.id)
        for each in (found.features if found else ())
        if not each.archived and kind in (None, each.type)
    ]


def choice(field: Field, options: Options) -> Field:
    """Let one of some options be chosen; where they are unknown or many, an id is typed."""
    field.options = options
    is_known = not field.value or field.value in dict(options)
    field.kind = "select" if is_known and 0 < len(options) <= _MAX_SELECT else "text"
    return field


def enum_options(kind: object, prefix: str) -> Options:
    """Return the values of an enum of the API with their words, without the unspecified one."""
    names = [name for name in kind.keys() if not name.endswith("_UNSPECIFIED")]  # type: ignore[attr-defined]  # noqa: SIM118
    return [(name, name.removeprefix(prefix).replace("_", " ").capitalize()) for name in names]
