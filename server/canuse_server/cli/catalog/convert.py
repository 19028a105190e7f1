"""Between a catalogue's file and the messages of the API."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from canuse import v1
from canuse_server.cli.catalog.schema import Path
from canuse_server.cli.output import EnumType, enum_name

Values = dict[str, Any]
"""A part of a file in plain values."""

_INDEX: Final = re.compile(r"^(?:features|packages)\[\d+\](?:\.features\[\d+\])?")
_FEATURE_TEXTS: Final = ("name", "unit_label", "unit_label_plural")


class Request(NamedTuple):
    """The content of a file as messages, and where in the file each of them is, by its path in the request."""

    features: list[v1.Feature]
    packages: list[v1.Package]
    places: dict[str, Path]
    problems: list[tuple[Path, str]]

    def place(self, field: str) -> Path | None:
        """Return the place in the file of a field of the request, None for a field that is not in the file."""
        found = _INDEX.match(field)
        if found is None or found[0] not in self.places:
            return None
        rest = re.split(r"[.\[]", field.removeprefix(found[0]).lstrip("."))[0]
        return self.places[found[0]] + ((rest,) if rest not in ("", "id", "feature_id") else ())


def request_of(document: Mapping[str, Any]) -> Request:
    """Return the content of a valid file as messages."""
    request = Request([], [], {}, [])
    for feature_id, values in (document.get("features") or {}).items():
        place: Path = ("features", feature_id)
        request.places[f"features[{len(request.features)}]"] = place
        try:
            request.features.append(_feature(feature_id, values))
        except ValueError as error:
            request.problems.append((place, str(error)))
    for package_id, values in (document.get("packages") or {}).items():
        package = dict(values or {})
        draft = package.pop("draft", None)
        _add_package(request, ("packages", package_id), package_id, package)
        if draft is not None:
            inherited = {name: value for name, value in package.items() if name != "status"}
            _add_package(
                request, ("packages", package_id, "draft"), package_id, {**inherited, **draft, "status": "draft"}
            )
    return request


def _add_package(request: Request, place: Path, package_id: str, values: Values) -> None:
    path = f"packages[{len(request.packages)}]"
    request.places[path] = place
    entries = (values.get("features") or {}).items()
    for index, (feature_id, _) in enumerate(entries):
        request.places[f"{path}.features[{index}]"] = (*place, "features", feature_id)
    try:
        package = v1.Package(
            id=package_id,
            name=values.get("name", ""),
            type=_number(v1.PackageType, "PACKAGE_TYPE_", values.get("type", "base")),
            status=_number(v1.PackageStatus, "PACKAGE_STATUS_", values.get("status", "published")),
            features=[_entry(feature_id, entry or {}) for feature_id, entry in entries],
            metadata=values.get("metadata") or {},
        )
    except ValueError as error:
        request.problems.append((place, str(error)))
    else:
        request.packages.append(package)


def _feature(feature_id: str, values: Values) -> v1.Feature:
    return v1.Feature(
        id=feature_id,
        type=_number(v1.FeatureType, "FEATURE_TYPE_", values["type"]),
        on_unavailable=_number(v1.OnUnavailable, "ON_UNAVAILABLE_", values.get("on_unavailable", "deny")),
        metadata=values.get("metadata") or {},
        archived=values.get("archived", False),
        **{name: values.get(name, "") for name in _FEATURE_TEXTS},
    )


def _entry(feature_id: str, values: Values) -> v1.PackageFeature:
    reset_period = values.get("reset_period") or values.get("per") or "never"
    return v1.PackageFeature(
        feature_id=feature_id,
        limit=values.get("limit"),
        reset_period=_number(v1.ResetPeriod, "RESET_PERIOD_", reset_period),
        overage_enabled=values.get("overage_enabled", False),
    )


def _number(kind: Any, prefix: str, word: str) -> Any:
    return kind.Value(prefix + word.upper())


def feature_values(feature: v1.Feature) -> Values:
    """Return a feature as it is written in a file, without defaults."""
    return _without_empty(
        {
            "name": feature.name,
            "type": _word(v1.FeatureType, "FEATURE_TYPE_", feature.type),
            "unit_label": feature.unit_label,
            "unit_label_plural": feature.unit_label_plural,
            "on_unavailable": _word(v1.OnUnavailable, "ON_UNAVAILABLE_", feature.on_unavailable, "deny"),
            "metadata": dict(sorted(feature.metadata.items())),
            "archived": feature.archived,
        }
    )


def package_values(package: v1.Package, draft: v1.Package | None) -> Values:
    """Return a package as it is written in a file, without defaults; `draft` is its next version if there is one."""
    values = _without_empty(
        {
            "name": package.name,
            "type": _word(v1.PackageType, "PACKAGE_TYPE_", package.type, "base"),
            "status": _word(v1.PackageStatus, "PACKAGE_STATUS_", package.status, "published"),
            **_content(package),
        }
    )
    if draft is not None:
        published = {"name": package.name, **_content(package)}
        changed = {"name": draft.name, **_content(draft)}
        values["draft"] = {name: value for name, value in changed.items() if value != published[name]}
    return values


def _content(package: v1.Package) -> Values:
    return {
        "features": {entry.feature_id: _entry_values(entry) for entry in package.features},
        "metadata": dict(sorted(package.metadata.items())),
    }


def _entry_values(entry: v1.PackageFeature) -> Values:
    limit = {"limit": entry.limit} if entry.HasField("limit") else {}
    rest = {
        "reset_period": _word(v1.ResetPeriod, "RESET_PERIOD_", entry.reset_period, "never"),
        "overage_enabled": entry.overage_enabled,
    }
    return limit | _without_empty(rest)


def _word(kind: EnumType, prefix: str, number: int, default: str = "") -> str:
    """Return the word for a value; empty for the default."""
    word = enum_name(kind, number, prefix).lower()
    return "" if word in (default, "unspecified") else word


def _without_empty(values: Values) -> Values:
    return {name: value for name, value in values.items() if value not in ("", {}, False)}
