"""What a file of Kana makes of a catalogue, as a request for ApplyCatalog."""

from collections.abc import Mapping
from typing import NamedTuple

from canuse import v1
from canuse_server.kana.config import Config, changed_feature, changed_package


class Stored(NamedTuple):
    """The features by id, and the packages by id: in the latest version, and in the one that a file shows."""

    features: Mapping[str, v1.Feature]
    latest: Mapping[str, v1.Package]
    shown: Mapping[str, v1.Package]


def build(config: Config, stored: Stored) -> tuple[v1.ApplyCatalogRequest, list[str]]:
    """Return the request, and what is wrong with the file. Of each package, the first one is that of the file."""
    request, problems = v1.ApplyCatalogRequest(), list(config.problems)
    for feature_id, name, kind in config.features:
        request.features.append(changed_feature(feature_id, name, kind, stored.features.get(feature_id)))
    types = {feature.id: feature.type for feature in (*stored.features.values(), *request.features)}
    for package in config.packages:
        latest, shown = stored.latest.get(package.id), stored.shown.get(package.id)
        is_published = shown is not None and shown.status == v1.PACKAGE_STATUS_PUBLISHED
        if is_published and package.status == v1.PACKAGE_STATUS_DRAFT:
            problems.append(f"package {package.id!r} is published and cannot become a draft again")
            continue
        request.packages.append(changed_package(package, types, shown))
        if latest is not None and latest != shown:
            # The draft of the next version, for which the file has no word.
            draft = request.packages.add()
            draft.CopyFrom(latest)
            draft.type = package.kind
    return request, problems
