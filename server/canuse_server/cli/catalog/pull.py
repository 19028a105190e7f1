"""Writes the catalogue of a server to a file."""

from pathlib import Path
from typing import Any, Final

import canuse
from canuse import v1
from canuse_server.cli.catalog.convert import feature_values, package_values, request_of
from canuse_server.cli.catalog.file import CatalogFile, save
from canuse_server.cli.catalog.merge import merge_section

PAGE_SIZE: Final = 1000
NEW_FILE: Final = "# The catalogue of canuse: see `canuse catalog --help`; `canuse catalog schema` prints its schema.\n"


def pulled(client: canuse.Client, path: Path) -> str:
    """Make a file what the catalogue is; return a few words on what was changed."""
    file = CatalogFile(path, None if path.exists() else NEW_FILE)
    current = _current(file)
    packages = _packages(client, current["packages"].keys())
    listed = {feature_id for package in packages.values() for feature_id in _listed(package)}
    features = {
        feature.id: feature_values(feature)
        for feature in client.list_features(page_size=PAGE_SIZE)
        if not feature.archived or feature.id in listed or feature.id in current["features"]
    }
    sections = {"features": features, "packages": packages}
    merged = [merge_section(file.root, name, current[name], wanted) for name, wanted in sections.items()]
    text = file.written()
    if path.exists() and not any(any(part) for part in merged):
        return "as the catalogue is"
    save(path, text)
    added, changed, removed = (sum(len(part[index]) for part in merged) for index in range(3))
    return f"{added:,} added, {changed:,} changed, {removed:,} removed"


def _current(file: CatalogFile) -> dict[str, dict[str, Any]]:
    """Return what a file says, in the form in which it would be written."""
    request = request_of(file.document)
    file.raise_for(request.problems)
    versions: dict[str, list[v1.Package]] = {}
    for package in request.packages:
        versions.setdefault(package.id, []).append(package)
    return {
        "features": {feature.id: feature_values(feature) for feature in request.features},
        "packages": {
            package_id: package_values(first, rest[0] if rest else None)
            for package_id, (first, *rest) in versions.items()
        },
    }


def _packages(client: canuse.Client, named: Any) -> dict[str, dict[str, Any]]:
    found = {}
    for package in client.list_packages(page_size=PAGE_SIZE):
        if package.status == v1.PACKAGE_STATUS_ARCHIVED and package.id not in named:
            continue
        draft = None
        if package.status == v1.PACKAGE_STATUS_DRAFT and package.published_version:
            draft, package = package, client.get_package(package.id, version=package.published_version)  # noqa: PLW2901
        found[package.id] = package_values(package, draft)
    return found


def _listed(package: dict[str, Any]) -> set[str]:
    """Return the features that a package or its draft lists."""
    return {*package.get("features", {}), *package.get("draft", {}).get("features", {})}
