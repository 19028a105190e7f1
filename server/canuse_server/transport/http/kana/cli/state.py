"""The catalogue as Kana's file shows it."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from canuse import v1
from canuse_server.kana.config import KINDS, PERIODS, STATUSES, TYPES, VERSION
from canuse_server.transport.http.calls import in_worker
from canuse_server.transport.http.kana.calls import Calls
from canuse_server.transport.http.kana.catalog import Catalog

_TYPE_NAMES = {number: name for name, number in TYPES.items()}
_PERIOD_NAMES = {number: name for name, number in PERIODS.items()}


class State(NamedTuple):
    """The features by id, and the packages by id: in the latest version, and in the one that the file shows."""

    features: dict[str, v1.Feature]
    latest: dict[str, v1.Package]
    shown: dict[str, v1.Package]

    @classmethod
    async def read(cls, calls: Calls) -> "State":
        """Read the catalogue."""
        catalog = Catalog(calls)
        features = {feature.id: feature for feature in await catalog.features()}
        latest = {package.id: package for package in await catalog.latest()}
        shown = {package_id: await catalog.shown(package) for package_id, package in latest.items()}
        return cls(features, latest, shown)

    def listed_packages(self) -> list[v1.Package]:
        """Return the packages that are in the file: all that are not archived."""
        return [package for package in self.shown.values() if package.status in STATUSES.values()]

    def listed_features(self) -> list[v1.Feature]:
        """Return the features that are in the file: all that are not archived, and those that a package in it has."""
        used = {entry.feature_id for package in self.listed_packages() for entry in package.features}
        return [feature for feature in self.features.values() if not feature.archived or feature.id in used]

    async def config(self) -> dict[str, Any]:
        """Return the file."""
        return await in_worker(self._config)

    def _config(self) -> dict[str, Any]:
        packages = self.listed_packages()
        features = [
            {"id": feature.id, "name": feature.name or feature.id, "type": _TYPE_NAMES[feature.type]}
            for feature in self.listed_features()
            if feature.type in _TYPE_NAMES
        ]
        groups = {
            group: {status: list(self._packages(packages, kind, number)) for status, number in STATUSES.items()}
            for group, kind in KINDS.items()
        }
        return {"version": VERSION, "app": "canuse", "features": features, **groups}

    def _packages(
        self, packages: Iterable[v1.Package], kind: v1.PackageType.ValueType, status: v1.PackageStatus.ValueType
    ) -> Iterable[dict[str, Any]]:
        for package in packages:
            if (package.type, package.status) == (kind, status):
                addon: dict[str, Any] = {"base_packages": []} if kind == v1.PACKAGE_TYPE_ADD_ON else {}
                entries = [self._entry(entry) for entry in package.features]
                yield {"id": package.id, "name": package.name or package.id, **addon, "features": entries}

    def _entry(self, entry: v1.PackageFeature) -> dict[str, Any]:
        shown: dict[str, Any] = {"id": entry.feature_id}
        if self.features[entry.feature_id].type == v1.FEATURE_TYPE_CONSUMABLE:
            shown["limit"] = entry.limit if entry.HasField("limit") else None
            if entry.overage_enabled:
                shown["overage_enabled"] = True
            if period := _PERIOD_NAMES.get(entry.reset_period):
                shown["reset_period"] = period
        return shown
