"""Changing the metadata of a package, also of a published one, as Kana does."""

from canuse import v1
from canuse_server.transport.http.kana.applying import apply
from canuse_server.transport.http.kana.work import Work


async def update_package_metadata(work: Work, package_id: str, metadata: dict[str, str]) -> None:
    """Set the metadata of a package: of its draft, and by a next version of what is published."""

    async def build() -> v1.ApplyCatalogRequest:
        request = v1.GetPackageRequest(package_id=package_id)
        latest = (await work.calls("CatalogService/GetPackage", request, v1.GetPackageResponse)).package
        shown = await work.catalog.shown(latest)
        changed = [v1.Package.FromString(version.SerializeToString()) for version in (shown, latest)]
        for package in changed:
            package.metadata.clear()
            package.metadata.update(metadata)
        return v1.ApplyCatalogRequest(packages=changed[:1] if shown == latest else changed)

    await apply(work.calls, build)
