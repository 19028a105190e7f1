"""Kana's configuration file: reading it, with all that is wrong in it, and what it says of a catalogue."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from canuse import v1

TYPES: Final = {"BINARY": v1.FEATURE_TYPE_BINARY, "CONSUMABLE": v1.FEATURE_TYPE_CONSUMABLE}
PERIODS: Final = {"DAY": v1.RESET_PERIOD_DAY, "MONTH": v1.RESET_PERIOD_MONTH, "YEAR": v1.RESET_PERIOD_YEAR}
STATUSES: Final = {"draft": v1.PACKAGE_STATUS_DRAFT, "published": v1.PACKAGE_STATUS_PUBLISHED}
KINDS: Final = {"packages": v1.PACKAGE_TYPE_BASE, "addons": v1.PACKAGE_TYPE_ADD_ON}
VERSION: Final = "1.0.0"
_FEATURE: Final = ("id", "name", "type")
_PACKAGE: Final = ("id", "name", "features", "base_packages")
_ENTRY: Final = ("id", "limit", "overage_enabled", "reset_period")


class ConfigPackage(NamedTuple):
    """A package or an add-on of a file."""

    id: str
    name: str
    kind: v1.PackageType.ValueType
    status: v1.PackageStatus.ValueType
    entries: list[dict[str, Any]]


class Config(NamedTuple):
    """The content of a file, and what is wrong with it, in order."""

    features: list[tuple[str, str, v1.FeatureType.ValueType]]
    """Ids, names and types."""
    packages: list[ConfigPackage]
    has_addons: bool
    """Whether the file says something of add-ons. Kana's command line never writes them."""
    problems: list[str]


def read_config(document: Mapping[str, Any], known: Mapping[str, v1.FeatureType.ValueType]) -> Config:
    """Return the content of a file. `known`: features to which it may refer beside its own, with their types."""
    reader = _Reader()
    features = list(reader.features(document.get("features")))
    types = {**known, **{feature_id: kind for feature_id, _, kind in features}}
    packages = [each for group in KINDS for each in reader.packages(group, document.get(group), types)]
    reader.check_bases(document.get("addons"), {package.id for package in packages})
    return Config(features, packages, document.get("addons") is not None, reader.problems)


def changed_feature(
    feature_id: str, name: str, kind: v1.FeatureType.ValueType, stored: v1.Feature | None
) -> v1.Feature:
    """Return a feature as a file has it; what the file has no word for stays as it is stored."""
    feature = v1.Feature()
    if stored is not None:
        feature.CopyFrom(stored)
    feature.id, feature.type = feature_id, kind
    feature.name = _name(feature_id, name, feature.name)
    return feature


def changed_package(package: ConfigPackage, types: Mapping[str, int], stored: v1.Package | None) -> v1.Package:
    """Return a package as a file has it; what the file has no word for stays as it is stored."""
    changed = v1.Package()
    if stored is not None:
        changed.CopyFrom(stored)
    before = {entry.feature_id: entry for entry in changed.features}
    changed.id, changed.type, changed.status = package.id, package.kind, package.status
    changed.name = _name(package.id, package.name, changed.name)
    del changed.features[:]
    changed.features.extend(_entry(entry, types, before.get(entry["id"])) for entry in package.entries)
    return changed


def _name(item_id: str, name: str, stored: str) -> str:
    # What has no name is written with its id in its place.
    return stored if not stored and name == item_id else name


def _entry(sent: dict[str, Any], types: Mapping[str, int], stored: v1.PackageFeature | None) -> v1.PackageFeature:
    entry = v1.PackageFeature(feature_id=sent["id"])
    if types[entry.feature_id] != v1.FEATURE_TYPE_CONSUMABLE:
        return entry
    if sent["limit"] is not None:
        entry.limit = sent["limit"]
    entry.overage_enabled = bool(sent.get("overage_enabled"))
    if period := sent.get("reset_period"):
        entry.reset_period = PERIODS[period]
    elif stored is not None and stored.reset_period not in PERIODS.values():
        entry.reset_period = stored.reset_period
    return entry


class _Reader:
    """Reads parts of a file and collects the problems. What has one is left out."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._seen: set[tuple[str, str]] = set()

    def features(self, sent: Any) -> Iterator[tuple[str, str, v1.FeatureType.ValueType]]:
        """Yield the features."""
        for where, item in self._items("features", sent):
            kind = item.get("type")
            if not isinstance(kind, str) or kind not in TYPES:
                self._wrong(f"{where}: type must be one of {', '.join(TYPES)}")
            elif self._identified(where, item, "feature", _FEATURE):
                yield item["id"], item.get("name") or item["id"], TYPES[kind]

    def packages(self, group: str, sent: Any, types: Mapping[str, int]) -> Iterator[ConfigPackage]:
        """Yield the packages or the add-ons."""
        if sent is not None and not isinstance(sent, dict):
            self._wrong(f"{group} must have draft and published")
            return
        for status, number in STATUSES.items():
            for where, item in self._items(f"{group}.{status}", (sent or {}).get(status)):
                if self._identified(where, item, "package", _PACKAGE):
                    entries = [*self._entries(f"package {item['id']!r}", item.get("features"), types)]
                    yield ConfigPackage(item["id"], item.get("name") or item["id"], KINDS[group], number, entries)

    def check_bases(self, addons: Any, package_ids: set[str]) -> None:
        """Check the base packages of add-ons."""
        for status in STATUSES:
            listed = addons.get(status) if isinstance(addons, dict) else None
            for item in listed if isinstance(listed, list) else ():
                bases = item.get("base_packages") if isinstance(item, dict) else None
                for base in bases if isinstance(bases, list) else ():
                    if not isinstance(base, str) or base not in package_ids:
                        self._wrong(f"add-on {item.get('id')!r}: the base package {base!r} is not in the file")

    def _entries(self, where: str, sent: Any, types: Mapping[str, int]) -> Iterator[dict[str, Any]]:
        listed: set[str] = set()
        for _, entry in self._items(f"{where}: features", sent):
            feature_id = entry.get("id")
            place = f"{where}, feature {feature_id!r}"
            if not isinstance(feature_id, str) or feature_id not in types:
                self._wrong(f"{place}: there is no such feature")
            elif feature_id in listed:
                self._wrong(f"{place}: it is listed twice")
            elif self._valid_entry(place, entry, types[feature_id] == v1.FEATURE_TYPE_CONSUMABLE):
                listed.add(feature_id)
                yield entry

    def _valid_entry(self, place: str, entry: dict[str, Any], consumable: bool) -> bool:
        before = len(self.problems)
        limit, overage, period = (entry.get(name) for name in _ENTRY[1:])
        if consumable and "limit" not in entry:
            self._wrong(f"{place}: limit is missing; null means unlimited")
        elif not consumable and limit is not None:
            self._wrong(f"{place}: a binary feature has no limit")
        elif limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit < 1 << 63):
            self._wrong(f"{place}: limit must be null or a whole number from 0")
        if overage is not None and not isinstance(overage, bool):
            self._wrong(f"{place}: overage_enabled must be true or false")
        if period is not None and (not isinstance(period, str) or period not in PERIODS):
            self._wrong(f"{place}: reset_period must be one of {', '.join(PERIODS)}, or absent")
        self._check_names(place, entry, _ENTRY)
        return len(self.problems) == before

    def _items(self, where: str, sent: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        if sent is None:
            return
        if not isinstance(sent, list):
            self._wrong(f"{where} must be a list")
            return
        for index, item in enumerate(sent):
            if isinstance(item, dict):
                yield f"{where}[{index}]", item
            else:
                self._wrong(f"{where}[{index}] must be an object")

    def _identified(self, where: str, item: dict[str, Any], what: str, names: tuple[str, ...]) -> bool:
        """Whether an item has an id of its own and a name."""
        item_id, name = item.get("id"), item.get("name")
        if not isinstance(item_id, str) or not item_id:
            self._wrong(f"{where}: id must be a string")
            return False
        if (what, item_id) in self._seen:
            self._wrong(f"{what} {item_id!r} is listed twice")
            return False
        self._seen.add((what, item_id))
        if name is not None and not isinstance(name, str):
            self._wrong(f"{what} {item_id!r}: name must be a string")
            return False
        self._check_names(f"{what} {item_id!r}", item, names)
        return True

    def _check_names(self, where: str, item: dict[str, Any], names: tuple[str, ...]) -> None:
        for name in item:
            if name not in names:
                self._wrong(f"{where}: {str(name)[:64]!r} is unknown; there can be {', '.join(names)}")

    def _wrong(self, problem: str) -> None:
        self.problems.append(problem)
