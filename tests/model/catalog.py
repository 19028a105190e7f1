"""Features, and packages with their versions."""

from dataclasses import dataclass, field
from typing import Final

from canuse import v1
from model.observations import Entry, PackageView, Refused

DRAFT: Final = v1.PACKAGE_STATUS_DRAFT
PUBLISHED: Final = v1.PACKAGE_STATUS_PUBLISHED
ARCHIVED: Final = v1.PACKAGE_STATUS_ARCHIVED


@dataclass
class Feature:
    """A feature."""

    id: str
    binary: bool
    archived: bool = False


@dataclass
class Package:
    """A package as last edited, and its published versions."""

    id: str
    type: int
    entries: tuple[Entry, ...]
    status: int = DRAFT
    version: int = 1
    published: dict[int, tuple[Entry, ...]] = field(default_factory=dict)

    def view(self) -> PackageView:
        """Return it as the API shows it."""
        return PackageView(self.id, self.type, self.entries, self.status, self.version, self.current())

    def current(self) -> int:
        """Return the version that new subscriptions get; 0 if none is published."""
        return max(self.published, default=0)


class Catalog:
    """Features and packages."""

    def __init__(self) -> None:
        self.features: dict[str, Feature] = {}
        self.packages: dict[str, Package] = {}

    def feature(self, feature_id: str) -> Feature:
        """Return a feature, which must exist."""
        if feature_id not in self.features:
            raise Refused("FEATURE_NOT_FOUND")
        return self.features[feature_id]

    def consumable(self, feature_id: str) -> Feature:
        """Return a feature, which must be consumable."""
        feature = self.feature(feature_id)
        if feature.binary:
            raise Refused("FEATURE_NOT_CONSUMABLE")
        return feature

    def package(self, package_id: str) -> Package:
        """Return a package, which must exist."""
        if package_id not in self.packages:
            raise Refused("PACKAGE_NOT_FOUND")
        return self.packages[package_id]

    def published_package(self, package_id: str) -> Package:
        """Return a package, which must be open to new subscribers."""
        package = self.package(package_id)
        if package.status == ARCHIVED or not package.published:
            raise Refused("PACKAGE_NOT_PUBLISHED")
        return package

    def create_feature(self, feature_id: str, binary: bool) -> None:
        """Create a feature."""
        if feature_id in self.features:
            raise Refused("FEATURE_EXISTS")
        self.features[feature_id] = Feature(feature_id, binary)

    def archive_feature(self, feature_id: str) -> None:
        """Archive a feature."""
        self.feature(feature_id).archived = True

    def create_package(self, package_id: str, kind: int, entries: tuple[Entry, ...]) -> PackageView:
        """Create a draft."""
        self._check(entries)
        if package_id in self.packages:
            raise Refused("PACKAGE_EXISTS")
        self.packages[package_id] = Package(package_id, kind, entries)
        return self.packages[package_id].view()

    def get_package(self, package_id: str, version: int) -> PackageView:
        """GetPackage; version 0 is the package as last edited."""
        package = self.package(package_id)
        if not version:
            return package.view()
        if version not in package.published:
            raise Refused("PACKAGE_NOT_FOUND")
        status = ARCHIVED if package.status == ARCHIVED else PUBLISHED
        return package.view()._replace(entries=package.published[version], status=status, version=version)

    def update_package(self, package_id: str, entries: tuple[Entry, ...]) -> PackageView:
        """UpdatePackage: change a draft, or make the next draft of a published package."""
        self._check(entries)
        package = self.package(package_id)
        if package.status == ARCHIVED:
            raise Refused("PACKAGE_ARCHIVED")
        if package.status == PUBLISHED and entries != package.entries:
            package.status = DRAFT
            package.version += 1
        package.entries = entries
        return package.view()

    def publish_package(self, package_id: str) -> PackageView:
        """Publish a draft."""
        package = self.package(package_id)
        if package.status == ARCHIVED:
            raise Refused("PACKAGE_ARCHIVED")
        package.status = PUBLISHED
        package.published[package.version] = package.entries
        return package.view()

    def archive_package(self, package_id: str) -> PackageView:
        """Close a package to new subscribers."""
        package = self.package(package_id)
        package.status = ARCHIVED
        return package.view()

    def _check(self, entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            if self.feature(entry.feature).archived:
                raise Refused("FEATURE_ARCHIVED")
