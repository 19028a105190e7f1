"""Changing the metadata of a package, also of a published one, as Kana does: nobody else's change gets lost."""

from typing import Final

from canuse import v1
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.transport.http.kana.work import Work

ATTEMPTS: Final = 5


async def update_package_metadata(work: Work, package_id: str, metadata: dict[str, str]) -> None:
    """Set the metadata of a package: of its draft, and by a next version of what is published."""
    for attempt in range(ATTEMPTS):
        # Without content it changes nothing, and tells the state that is read next.
        state = await work.calls("CatalogService/ApplyCatalog", v1.ApplyCatalogRequest(), v1.ApplyCatalogResponse)
        request = v1.GetPackageRequest(package_id=package_id)
        latest = (await work.calls("CatalogService/GetPackage", request, v1.GetPackageResponse)).package
        shown = await work.catalog.shown(latest)
        versions = [shown] if shown == latest else [shown, latest]
        changed = []
        for version in versions:
            package = v1.Package()
            package.CopyFrom(version)
            package.metadata.clear()
            package.metadata.update(metadata)
            changed.append(package)
        try:
            await work.calls(
                "CatalogService/ApplyCatalog",
                v1.ApplyCatalogRequest(packages=changed, etag=state.etag),
                v1.ApplyCatalogResponse,
            )
        except ApiError as error:
            if error.reason is not ErrorReason.CATALOG_CHANGED or attempt == ATTEMPTS - 1:
                raise
        else:
            return
