"""CatalogService: features and packages."""

from dataclasses import replace
from typing import Final

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.api import pages
from canuse_server.api.catalog_input import check_feature, check_package, package_features
from canuse_server.api.convert import feature_message, package_message
from canuse_server.api.errors import ApiError, ErrorReason, feature_not_found, package_not_found
from canuse_server.api.validation import masked, page_size, require_id
from canuse_server.api.world import World
from canuse_server.domain.model import Feature, FeatureType, Package, PackageStatus, PackageType
from canuse_server.store.errors import ConflictError, StoreUnavailableError

ATTEMPTS: Final = 20
"""How often a change is tried while others change the same item."""
PAGE_BYTES: Final = 2 * 1024 * 1024
"""How large a page of packages becomes, before the last one on it: clients take answers of up to 4 MiB."""
FEATURE_FIELDS: Final = ("name", "unit_label", "unit_label_plural", "metadata")
PACKAGE_FIELDS: Final = ("name", "type", "features", "metadata")


class CatalogServicer:
    """CatalogService."""

    async def create_feature(self, request: pb.CreateFeatureRequest, world: World) -> pb.CreateFeatureResponse:
        """Create a feature."""
        wanted = request.feature
        check_feature(wanted, created=True)
        feature = Feature(
            id=wanted.id,
            type=FeatureType(wanted.type),
            created_at_ms=await world.store.now_ms(),
            name=wanted.name,
            unit_label=wanted.unit_label,
            unit_label_plural=wanted.unit_label_plural,
            metadata=dict(wanted.metadata),
        )
        try:
            await world.catalog.put_feature(None, feature)
        except ConflictError:
            text, ids = f"there is a feature {feature.id!r} already", {"feature_id": feature.id}
            raise ApiError(ErrorReason.FEATURE_EXISTS, text, ids) from None
        world.cache.features[feature.id] = feature
        return pb.CreateFeatureResponse(feature=feature_message(feature))

    async def get_feature(self, request: pb.GetFeatureRequest, world: World) -> pb.GetFeatureResponse:
        """Get a feature."""
        feature = await _feature(world, require_id("feature_id", request.feature_id))
        return pb.GetFeatureResponse(feature=feature_message(feature))

    async def update_feature(self, request: pb.UpdateFeatureRequest, world: World) -> pb.UpdateFeatureResponse:
        """Change fields of a feature."""
        wanted = request.feature
        check_feature(wanted, created=False)
        chosen = masked(request.update_mask, wanted, FEATURE_FIELDS)
        values = {**{name: getattr(wanted, name) for name in FEATURE_FIELDS}, "metadata": dict(wanted.metadata)}
        feature = await _put_feature(world, wanted.id, {name: values[name] for name in chosen})
        return pb.UpdateFeatureResponse(feature=feature_message(feature))

    async def list_features(self, request: pb.ListFeaturesRequest, world: World) -> pb.ListFeaturesResponse:
        """List features by id."""
        size, (_, last) = page_size(request.page_size), pages.decode(request.page_token)
        found = await world.catalog.feature_page(last, size + 1)
        return pb.ListFeaturesResponse(
            features=[feature_message(feature) for feature in found[:size]],
            next_page_token=pages.encode(found[size - 1].id) if len(found) > size else "",
        )

    async def archive_feature(self, request: pb.ArchiveFeatureRequest, world: World) -> pb.ArchiveFeatureResponse:
        """Archive a feature."""
        feature = await _put_feature(world, require_id("feature_id", request.feature_id), {"archived": True})
        return pb.ArchiveFeatureResponse(feature=feature_message(feature))

    async def create_package(self, request: pb.CreatePackageRequest, world: World) -> pb.CreatePackageResponse:
        """Create a draft."""
        wanted = request.package
        check_package(wanted)
        package = Package(
            id=wanted.id,
            created_at_ms=await world.store.now_ms(),
            name=wanted.name,
            type=PackageType(wanted.type or PackageType.BASE),
            features=await package_features(world, wanted.features),
            metadata=dict(wanted.metadata),
        )
        try:
            await world.catalog.put_package(None, package)
        except ConflictError:
            text, ids = f"there is a package {package.id!r} already", {"package_id": package.id}
            raise ApiError(ErrorReason.PACKAGE_EXISTS, text, ids) from None
        return pb.CreatePackageResponse(package=package_message(package))

    async def get_package(self, request: pb.GetPackageRequest, world: World) -> pb.GetPackageResponse:
        """Get a package."""
        package = await _package(world, require_id("package_id", request.package_id))
        return pb.GetPackageResponse(package=package_message(package))

    async def update_package(self, request: pb.UpdatePackageRequest, world: World) -> pb.UpdatePackageResponse:
        """Change a draft."""
        wanted = request.package
        check_package(wanted)
        chosen = masked(request.update_mask, wanted, PACKAGE_FIELDS)
        values = {
            "name": wanted.name,
            "type": PackageType(wanted.type or PackageType.BASE),
            "features": await package_features(world, wanted.features) if "features" in chosen else (),
            "metadata": dict(wanted.metadata),
        }
        changes = {name: values[name] for name in chosen}
        package = await _put_package(world, wanted.id, changes, (PackageStatus.DRAFT,))
        return pb.UpdatePackageResponse(package=package_message(package))

    async def list_packages(self, request: pb.ListPackagesRequest, world: World) -> pb.ListPackagesResponse:
        """List packages by id."""
        size, (_, last) = page_size(request.page_size), pages.decode(request.page_token)
        found = await world.catalog.package_page(last, size + 1)
        page: list[pb.Package] = []
        for package in found[:size]:
            page.append(package_message(package))
            if sum(message.ByteSize() for message in page) > PAGE_BYTES:
                break
        token = pages.encode(page[-1].id) if len(found) > len(page) else ""
        return pb.ListPackagesResponse(packages=page, next_page_token=token)

    async def publish_package(self, request: pb.PublishPackageRequest, world: World) -> pb.PublishPackageResponse:
        """Publish a draft."""
        package_id = require_id("package_id", request.package_id)
        allowed = (PackageStatus.DRAFT, PackageStatus.PUBLISHED)
        package = await _put_package(world, package_id, {"status": PackageStatus.PUBLISHED}, allowed)
        return pb.PublishPackageResponse(package=package_message(package))

    async def archive_package(self, request: pb.ArchivePackageRequest, world: World) -> pb.ArchivePackageResponse:
        """Archive a package."""
        package_id = require_id("package_id", request.package_id)
        package = await _put_package(world, package_id, {"status": PackageStatus.ARCHIVED})
        return pb.ArchivePackageResponse(package=package_message(package))


async def _feature(world: World, feature_id: str) -> Feature:
    feature = await world.catalog.feature(feature_id)
    if feature is None:
        raise feature_not_found(feature_id)
    return feature


async def _package(world: World, package_id: str) -> Package:
    package = await world.catalog.package(package_id)
    if package is None:
        raise package_not_found(package_id)
    return package


async def _put_feature(world: World, feature_id: str, changes: dict[str, object]) -> Feature:
    for _ in range(ATTEMPTS):
        old = await _feature(world, feature_id)
        new = replace(old, **changes)  # type: ignore[arg-type]
        try:
            if new != old:
                await world.catalog.put_feature(old, new)
        except ConflictError:
            continue
        world.cache.features[feature_id] = new
        return new
    raise StoreUnavailableError(f"{ATTEMPTS} changes of one feature by others came in between")


async def _put_package(
    world: World,
    package_id: str,
    changes: dict[str, object],
    allowed: tuple[PackageStatus, ...] = tuple(PackageStatus),
) -> Package:
    for _ in range(ATTEMPTS):
        old = await _package(world, package_id)
        if old.status not in allowed:
            raise _refused(old, allowed)
        new = replace(old, **changes)  # type: ignore[arg-type]
        try:
            if new != old:
                await world.catalog.put_package(old, new)
        except ConflictError:
            continue
        return new
    raise StoreUnavailableError(f"{ATTEMPTS} changes of one package by others came in between")


def _refused(package: Package, allowed: tuple[PackageStatus, ...]) -> ApiError:
    ids = {"package_id": package.id}
    if PackageStatus.PUBLISHED in allowed:
        return ApiError(ErrorReason.PACKAGE_ARCHIVED, f"package {package.id!r} is archived, for good", ids)
    text = f"package {package.id!r} is {package.status.name}; only a DRAFT can be changed"
    return ApiError(ErrorReason.PACKAGE_IMMUTABLE, text, ids)
