"""The list of packages, and the versions of a package side by side."""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.transport.http.console.forms import read_amount
from canuse_server.transport.http.console.pages.user import features_of
from canuse_server.transport.http.console.visit import View, Visit
from canuse_server.transport.http.console.words import entry_words

PAGE_SIZE: Final = 50
MAX_FEATURES: Final = 200
"""Of how many features it is looked up whether they are binary or consumable."""
CHOICES: Final = 50
"""How many versions can be chosen, the newest ones."""


class Row(NamedTuple):
    """A feature in two versions of a package."""

    feature_id: str
    before: str
    after: str
    """Empty where the version does not have the feature."""
    kind: str
    """`same`, `added`, `removed` or `changed`."""


async def read_all(visit: Visit) -> View:
    """Show the list."""
    request = pb.ListPackagesRequest(page_size=PAGE_SIZE, page_token=visit.query("page_token"))
    answer = await visit.call("CatalogService/ListPackages", request, pb.ListPackagesResponse)
    return View("packages.html", {"packages": answer.packages, "next_page_token": answer.next_page_token})


async def read_one(visit: Visit) -> View:
    """Show a package in two versions; without a choice, the latest one and the one before."""
    package_id = visit.query("id")
    latest = await _version(visit, package_id, 0)
    after_number = _number(visit, "version") or latest.version
    before_number = _number(visit, "against") or max(after_number - 1, 1)
    after, before = await asyncio.gather(
        _version(visit, package_id, after_number, latest), _version(visit, package_id, before_number, latest)
    )
    ids = [entry.feature_id for package in (after, before) for entry in package.features]
    features = await features_of(visit, ids[:MAX_FEATURES])
    values = {
        "latest": latest,
        "after": after,
        "before": before,
        "rows": differences(before, after, features),
        "versions": list(range(latest.version, max(latest.version - CHOICES, 0), -1)),
    }
    return View("package.html", values)


def _number(visit: Visit, name: str) -> int:
    return read_amount(name, visit.query(name)) if visit.query(name) else 0


async def _version(visit: Visit, package_id: str, version: int, latest: pb.Package | None = None) -> pb.Package:
    # The latest version may be a draft, which only the number 0 gets.
    if latest is not None and latest.version == version:
        return latest
    request = pb.GetPackageRequest(package_id=package_id, version=version)
    return (await visit.call("CatalogService/GetPackage", request, pb.GetPackageResponse)).package


def differences(before: pb.Package, after: pb.Package, features: Mapping[str, pb.Feature]) -> list[Row]:
    """Return the features of two versions of a package, in the order of the later one; removed ones come last."""
    old, new = (
        {entry.feature_id: entry_words(entry, features.get(entry.feature_id)) for entry in package.features}
        for package in (before, after)
    )
    rows = []
    for feature_id in dict.fromkeys([*new, *old]):
        was, now = old.get(feature_id, ""), new.get(feature_id, "")
        kind = "same" if was == now else "added" if not was else "removed" if not now else "changed"
        rows.append(Row(feature_id, was, now, kind))
    return rows
