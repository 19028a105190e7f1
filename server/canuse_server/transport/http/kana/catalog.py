"""Features and packages as Kana shows them: a package has no versions, so of several one is shown."""

import asyncio
from collections.abc import Iterable
from typing import Final, NamedTuple

from canuse import v1
from canuse_server.transport.http.kana.calls import Calls

FEW: Final = 20
"""Up to so many features are read one by one, and all at once otherwise."""


class Entry(NamedTuple):
    """A feature in a package."""

    entry: v1.PackageFeature
    feature: v1.Feature


class Catalog:
    """The catalogue, read as far as a request needs it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._lock = asyncio.Lock()
        self._by_feature: tuple[int, dict[str, list[v1.Package]]] = (-1, {})

    async def feature(self, feature_id: str) -> v1.Feature:
        """Return a feature; raise ApiError where there is none."""
        request = v1.GetFeatureRequest(feature_id=feature_id)
        return (await self._calls("CatalogService/GetFeature", request, v1.GetFeatureResponse)).feature

    async def features(self) -> list[v1.Feature]:
        """Return all features."""
        return await self._calls.all(
            "CatalogService/ListFeatures", v1.ListFeaturesRequest(), v1.ListFeaturesResponse, "features"
        )

    async def package(self, package_id: str, version: int = 0) -> v1.Package:
        """Return a package in a published version; 0: in the one that is shown, see `shown`."""
        request = v1.GetPackageRequest(package_id=package_id, version=version)
        package = (await self._calls("CatalogService/GetPackage", request, v1.GetPackageResponse)).package
        return package if version else await self.shown(package)

    async def packages(self) -> list[v1.Package]:
        """Return all packages, each in the version that is shown."""
        return [await self.shown(package) for package in await self.latest()]

    async def latest(self) -> list[v1.Package]:
        """Return all packages, each in its latest version."""
        return await self._calls.all(
            "CatalogService/ListPackages", v1.ListPackagesRequest(), v1.ListPackagesResponse, "packages"
        )

    async def shown(self, latest: v1.Package) -> v1.Package:
        """Return the version of a package that is shown: a draft only while no version is published."""
        if latest.status == v1.PACKAGE_STATUS_DRAFT and latest.published_version:
            return await self.package(latest.id, latest.published_version)
        return latest

    async def entries(self, package: v1.Package) -> list[Entry]:
        """Return what a package says of each feature."""
        features = await self.named(entry.feature_id for entry in package.features)
        return [Entry(entry, features[entry.feature_id]) for entry in package.features]

    async def named(self, feature_ids: Iterable[str]) -> dict[str, v1.Feature]:
        """Return features by their ids."""
        requested = set(feature_ids)
        if len(requested) > FEW:
            return {feature.id: feature for feature in await self.features()}
        return {feature_id: await self.feature(feature_id) for feature_id in requested}

    async def packages_by_feature(self) -> dict[str, list[v1.Package]]:
        """Return the packages that have a feature, for each feature."""
        async with self._lock:
            if self._by_feature[0] != self._calls.writes:
                found: dict[str, list[v1.Package]] = {}
                for package in await self.packages():
                    for entry in package.features:
                        found.setdefault(entry.feature_id, []).append(package)
                self._by_feature = self._calls.writes, found
            return self._by_feature[1]
