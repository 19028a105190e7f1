"""The methods of CatalogService for packages: drafts, published versions and archiving."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import package_message
from canuse_server.api.enums import name_of
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, ErrorReason, package_not_found, version_not_found
from canuse_server.api.services.catalog_service.input import check_package, package_features
from canuse_server.api.tokens import page as page_tokens
from canuse_server.api.users.retry import retry_on_conflict
from canuse_server.api.validation import Violations, masked, page_size, require_id
from canuse_server.domain.model import Package, PackageStatus, PackageType
from canuse_server.store.errors import ConflictError

PACKAGE_FIELDS: Final = ("name", "type", "features", "metadata")


class PackageMethods:
    """The methods of CatalogService for packages."""

    async def create_package(self, request: pb.CreatePackageRequest, context: CallContext) -> pb.CreatePackageResponse:
        """Create a package as a draft."""
        requested = request.package
        check_package(requested)
        package = Package(
            id=requested.id,
            created_at_ms=await context.env.store.now_ms(),
            name=requested.name,
            type=PackageType(requested.type or PackageType.BASE),
            features=await package_features(context.env, requested.features),
            metadata=dict(requested.metadata),
        )
        try:
            await context.env.catalog.put_package(None, package)
        except ConflictError:
            text, ids = f"package {package.id!r} already exists", {"package_id": package.id}
            raise ApiError(ErrorReason.PACKAGE_EXISTS, text, ids) from None
        return pb.CreatePackageResponse(package=package_message(package))

    async def get_package(self, request: pb.GetPackageRequest, context: CallContext) -> pb.GetPackageResponse:
        """Get the latest version of a package, or a published one."""
        violations = Violations()
        violations.id("package_id", request.package_id)
        violations.version("version", request.version)
        violations.check()
        if not request.version:
            package = await current_package(context.env, request.package_id)
        else:
            package = await _version(context.env, request.package_id, request.version)
        return pb.GetPackageResponse(package=package_message(package))

    async def update_package(self, request: pb.UpdatePackageRequest, context: CallContext) -> pb.UpdatePackageResponse:
        """Change a draft; a change of a published package creates the next draft."""
        requested = request.package
        check_package(requested)
        chosen = masked(request.update_mask, requested, PACKAGE_FIELDS)
        values = {
            "name": requested.name,
            "type": PackageType(requested.type or PackageType.BASE),
            "features": await package_features(context.env, requested.features) if "features" in chosen else (),
            "metadata": dict(requested.metadata),
        }
        changes = {name: values[name] for name in chosen}
        package = await _change(context.env, requested.id, lambda old: _edited(old, changes))
        return pb.UpdatePackageResponse(package=package_message(package))

    async def list_packages(self, request: pb.ListPackagesRequest, context: CallContext) -> pb.ListPackagesResponse:
        """List packages by id."""
        size, (_, last) = page_size(request.page_size), page_tokens.decode(request)
        found = await context.env.catalog.package_page(last, size + 1)
        packages, token = await page_tokens.fill(request, found, package_message, lambda package: (package.id, 0))
        return pb.ListPackagesResponse(packages=packages, next_page_token=token)

    async def publish_package(
        self, request: pb.PublishPackageRequest, context: CallContext
    ) -> pb.PublishPackageResponse:
        """Publish a draft."""
        package = await _change(context.env, require_id("package_id", request.package_id), _published)
        return pb.PublishPackageResponse(package=package_message(package))

    async def archive_package(
        self, request: pb.ArchivePackageRequest, context: CallContext
    ) -> pb.ArchivePackageResponse:
        """Archive a package and its draft."""
        package = await _change(context.env, require_id("package_id", request.package_id), _archived)
        return pb.ArchivePackageResponse(package=package_message(package))


async def current_package(env: Environment, package_id: str) -> Package:
    """Return the latest version of a package; raise ApiError if the package does not exist."""
    package = await env.catalog.package(package_id)
    if package is None:
        raise package_not_found(package_id)
    return package


async def _version(env: Environment, package_id: str, number: int) -> Package:
    # In this order, a version published between the two reads is reported as not found.
    found = await env.catalog.package_versions([(package_id, number)])
    current = await current_package(env, package_id)
    if not found:
        raise version_not_found(package_id, number)
    # The features are those of the published version; status and published version are those of the package.
    archived = current.status == PackageStatus.ARCHIVED
    return replace(
        found[0],
        status=PackageStatus.ARCHIVED if archived else PackageStatus.PUBLISHED,
        published_version=current.published_version,
    )


async def _change(env: Environment, package_id: str, change: Callable[[Package], Package]) -> Package:
    """Replace a package by the result of `change`, and return it."""

    async def replace_package() -> Package:
        old = await env.catalog.stored_package(package_id)
        if old is None:
            raise package_not_found(package_id)
        new = change(old.item)
        if new != old.item:
            await env.catalog.put_package(old, new)
        return new

    return await retry_on_conflict(replace_package, f"package {package_id!r}")


def _edited(old: Package, changes: Mapping[str, Any]) -> Package:
    _refuse_archived(old)
    new = replace(old, **changes)
    if new == old:
        return old
    if old.published_version and new.type != old.type:
        text = f"package {old.id!r} was published as {name_of(old.type)}; its type cannot change"
        raise ApiError(ErrorReason.PACKAGE_IMMUTABLE, text, {"package_id": old.id})
    if old.status == PackageStatus.PUBLISHED:
        return replace(new, status=PackageStatus.DRAFT, version=old.version + 1)
    return new


def _published(old: Package) -> Package:
    _refuse_archived(old)
    return replace(old, status=PackageStatus.PUBLISHED, published_version=old.version)


def _archived(old: Package) -> Package:
    return replace(old, status=PackageStatus.ARCHIVED)


def _refuse_archived(package: Package) -> None:
    if package.status == PackageStatus.ARCHIVED:
        text = f"package {package.id!r} is archived and cannot be changed"
        raise ApiError(ErrorReason.PACKAGE_ARCHIVED, text, {"package_id": package.id})
