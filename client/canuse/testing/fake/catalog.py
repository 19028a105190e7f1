"""CatalogService in memory: features, and packages with their versions."""

from dataclasses import dataclass, field
from typing import Final

from canuse import v1
from canuse.testing.fake.checks import apply_mask, check, named, page
from canuse.testing.fake.periods import as_timestamp
from canuse.testing.fake.refusal import Refusal, exists, invalid, not_found

_FEATURE_FIELDS: Final = ("name", "unit_label", "unit_label_plural", "metadata", "on_unavailable")
_PACKAGE_FIELDS: Final = ("features", "type", "name", "metadata")
_ARCHIVED: Final = v1.PACKAGE_STATUS_ARCHIVED


@dataclass
class Versions:
    """A package as last edited, and its published versions by number."""

    latest: v1.Package
    published: dict[int, v1.Package] = field(default_factory=dict)


class Catalog:
    """Features and packages."""

    def __init__(self, now: int) -> None:
        """Start without any."""
        self.now = now
        """Milliseconds since 1970."""
        self.features: dict[str, v1.Feature] = {}
        self.packages: dict[str, Versions] = {}

    def feature(self, feature_id: str) -> v1.Feature:
        """Return a feature, which must exist."""
        if feature_id not in self.features:
            raise not_found("feature", feature_id)
        return self.features[feature_id]

    def consumable(self, feature_id: str) -> v1.Feature:
        """Return a feature, which must be consumable."""
        feature = self.feature(feature_id)
        if feature.type != v1.FEATURE_TYPE_CONSUMABLE:
            text = f"feature {feature_id!r} is binary: its use is not counted"
            raise Refusal("FEATURE_NOT_CONSUMABLE", text, feature_id=feature_id)
        return feature

    def package(self, package_id: str) -> Versions:
        """Return a package, which must exist."""
        if package_id not in self.packages:
            raise not_found("package", package_id)
        return self.packages[package_id]

    def published(self, package_id: str) -> v1.Package:
        """Return the version of a package that new subscriptions get."""
        package = self.package(package_id)
        if package.latest.status == _ARCHIVED or not package.published:
            text = f"package {package_id!r} is not published: it cannot be subscribed to"
            raise Refusal("PACKAGE_NOT_PUBLISHED", text, package_id=package_id)
        return package.published[max(package.published)]

    def create_feature(self, request: v1.CreateFeatureRequest) -> v1.CreateFeatureResponse:
        """CreateFeature."""
        feature = request.feature
        check(feature, "feature.", ids=("id",))
        named(v1.FeatureType, feature.type, "feature.type")
        if feature.id in self.features:
            raise exists("feature", feature.id)
        feature.created_at.CopyFrom(as_timestamp(self.now))
        feature.on_unavailable = feature.on_unavailable or v1.ON_UNAVAILABLE_DENY
        self.features[feature.id] = feature
        return v1.CreateFeatureResponse(feature=feature)

    def get_feature(self, request: v1.GetFeatureRequest) -> v1.GetFeatureResponse:
        """GetFeature."""
        return v1.GetFeatureResponse(feature=self.feature(request.feature_id))

    def update_feature(self, request: v1.UpdateFeatureRequest) -> v1.UpdateFeatureResponse:
        """UpdateFeature."""
        changed = apply_mask(self.feature(request.feature.id), request, "feature", _FEATURE_FIELDS)
        check(changed, "feature.", ids=("id",))
        self.features[changed.id] = changed
        return v1.UpdateFeatureResponse(feature=changed)

    def list_features(self, request: v1.ListFeaturesRequest) -> v1.ListFeaturesResponse:
        """ListFeatures."""
        found = (self.features[name] for name in sorted(self.features))
        return page(request, found, lambda items, rest: v1.ListFeaturesResponse(features=items, next_page_token=rest))

    def archive_feature(self, request: v1.ArchiveFeatureRequest) -> v1.ArchiveFeatureResponse:
        """ArchiveFeature."""
        feature = self.feature(request.feature_id)
        feature.archived = True
        return v1.ArchiveFeatureResponse(feature=feature)

    def create_package(self, request: v1.CreatePackageRequest) -> v1.CreatePackageResponse:
        """CreatePackage."""
        package = request.package
        check(package, "package.", ids=("id",))
        named(v1.PackageType, package.type, "package.type")
        self._check_entries(package)
        if package.id in self.packages:
            raise exists("package", package.id)
        package.status, package.version, package.published_version = v1.PACKAGE_STATUS_DRAFT, 1, 0
        package.created_at.CopyFrom(as_timestamp(self.now))
        self.packages[package.id] = Versions(package)
        return v1.CreatePackageResponse(package=package)

    def get_package(self, request: v1.GetPackageRequest) -> v1.GetPackageResponse:
        """GetPackage."""
        package = self.package(request.package_id)
        if request.version and request.version not in package.published:
            text = f"package {request.package_id!r} has no published version {request.version}"
            ids = {"package_id": request.package_id, "version": str(request.version)}
            raise Refusal("PACKAGE_NOT_FOUND", text, **ids)
        return v1.GetPackageResponse(package=package.published[request.version] if request.version else package.latest)

    def update_package(self, request: v1.UpdatePackageRequest) -> v1.UpdatePackageResponse:
        """UpdatePackage."""
        package = self.package(request.package.id)
        if package.latest.status == _ARCHIVED:
            raise Refusal(
                "PACKAGE_ARCHIVED", f"package {request.package.id!r} is archived", package_id=request.package.id
            )
        changed: v1.Package = apply_mask(package.latest, request, "package", _PACKAGE_FIELDS)
        check(changed, "package.", ids=("id",))
        self._check_entries(changed)
        if package.published and changed.type != package.latest.type:
            text = f"the type of package {changed.id!r} cannot change: a version was published"
            raise Refusal("PACKAGE_IMMUTABLE", text, package_id=changed.id)
        if changed != package.latest and changed.status == v1.PACKAGE_STATUS_PUBLISHED:
            changed.status = v1.PACKAGE_STATUS_DRAFT
            changed.version += 1
        package.latest = changed
        return v1.UpdatePackageResponse(package=changed)

    def list_packages(self, request: v1.ListPackagesRequest) -> v1.ListPackagesResponse:
        """ListPackages."""
        found = (self.packages[name].latest for name in sorted(self.packages))
        return page(request, found, lambda items, rest: v1.ListPackagesResponse(packages=items, next_page_token=rest))

    def publish_package(self, request: v1.PublishPackageRequest) -> v1.PublishPackageResponse:
        """PublishPackage."""
        package = self.package(request.package_id)
        if package.latest.status == _ARCHIVED:
            raise Refusal(
                "PACKAGE_ARCHIVED", f"package {request.package_id!r} is archived", package_id=request.package_id
            )
        package.latest.status = v1.PACKAGE_STATUS_PUBLISHED
        package.latest.published_version = package.latest.version
        fixed = v1.Package()
        fixed.CopyFrom(package.latest)
        package.published[fixed.version] = fixed
        return v1.PublishPackageResponse(package=fixed)

    def archive_package(self, request: v1.ArchivePackageRequest) -> v1.ArchivePackageResponse:
        """ArchivePackage."""
        package = self.package(request.package_id)
        package.latest.status = _ARCHIVED
        return v1.ArchivePackageResponse(package=package.latest)

    def _check_entries(self, package: v1.Package) -> None:
        seen: set[str] = set()
        for number, entry in enumerate(package.features):
            where = f"package.features[{number}]."
            check(entry, where, ids=("feature_id",))
            feature = self.feature(entry.feature_id)
            if feature.archived:
                text = f"feature {feature.id!r} is archived"
                raise Refusal("FEATURE_ARCHIVED", text, feature_id=feature.id)
            if entry.feature_id in seen:
                raise invalid((f"{where}feature_id", f"must be listed once; {entry.feature_id!r} was sent again"))
            if entry.HasField("limit") and entry.limit < 0:
                raise invalid((f"{where}limit", f"must be 0 to 2^53 - 1; {entry.limit} was sent"))
            if entry.HasField("limit") and feature.type == v1.FEATURE_TYPE_BINARY:
                raise invalid((f"{where}limit", "must be absent for a binary feature"))
            if entry.HasField("limit") and not entry.reset_period:
                raise invalid((f"{where}reset_period", "must be given with a limit"))
            seen.add(entry.feature_id)
