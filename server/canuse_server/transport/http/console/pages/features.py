"""The list of features, and a feature: in which packages it is, and who uses it most."""

import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from canuse.v1 import catalog_service_pb2 as catalog
from canuse.v1 import usage_service_pb2 as usage
from canuse_server.transport.http.calls import in_worker
from canuse_server.transport.http.console.figures import by_feature, whose
from canuse_server.transport.http.console.visit import View, Visit

PAGE_SIZE: Final = 50
MOST: Final = 10
"""How many users are shown who use a feature most."""
TOTALS_PER_CALL: Final = 1000
MAX_CALLS: Final = 10
MAX_SECONDS: Final = 1.0
"""When no further part of the totals is read: of very many users, the first ones are enough for a page."""
PACKAGES: Final = 200
"""Among how many packages a feature is looked for."""

Entry = tuple[catalog.Package, catalog.PackageFeature]


class Most(NamedTuple):
    """Who uses a feature most in their current periods."""

    totals: list[usage.UsageTotal]
    users: int
    """Number of users with a use."""
    used: int
    """What they used together."""
    is_cut: bool
    """Whether there are further users, who were not looked at."""


async def read_all(visit: Visit) -> View:
    """Show the list."""
    request = catalog.ListFeaturesRequest(page_size=PAGE_SIZE, page_token=visit.query("page_token"))
    answer = await visit.call("CatalogService/ListFeatures", request, catalog.ListFeaturesResponse)
    assert visit.visitor.caller is not None
    decisions = await visit.site.host.decisions()
    values = {
        "features": answer.features,
        "next_page_token": answer.next_page_token,
        "counts": by_feature(decisions, visit.visitor.caller.env.environment),
        "whose": whose(decisions),
    }
    return View("features.html", values)


async def read_one(visit: Visit) -> View:
    """Show a feature."""
    feature_id = visit.query("id")
    request = catalog.GetFeatureRequest(feature_id=feature_id)
    feature = (await visit.call("CatalogService/GetFeature", request, catalog.GetFeatureResponse)).feature
    is_counted = feature.type == catalog.FEATURE_TYPE_CONSUMABLE and visit.may("UsageService/ListUsageTotals")
    packages = await visit.call(
        "CatalogService/ListPackages", catalog.ListPackagesRequest(page_size=PACKAGES), catalog.ListPackagesResponse
    )
    values: dict[str, Any] = {
        "feature": feature,
        "entries": await in_worker(_entries, packages.packages, feature_id),
        "are_packages_cut": bool(packages.next_page_token),
        "most": await _most(visit, feature_id) if is_counted else None,
    }
    return View("feature.html", values)


def _entries(packages: Iterable[catalog.Package], feature_id: str) -> list[Entry]:
    """Return the packages that have a feature, each with its entry for it."""
    return [(each, entry) for each in packages for entry in each.features if entry.feature_id == feature_id]


async def _most(visit: Visit, feature_id: str) -> Most:
    """Return who uses a feature most, among as many users as can be looked at within a page's time."""
    request = usage.ListUsageTotalsRequest(feature_id=feature_id, page_size=TOTALS_PER_CALL)
    found: list[usage.UsageTotal] = []
    users = used = 0
    began = time.monotonic()
    for attempt in range(MAX_CALLS):
        answer = await visit.call(
            "UsageService/ListUsageTotals", request, usage.ListUsageTotalsResponse, shown=attempt == 0
        )
        current = [total for total in answer.totals if not total.complete]
        users, used = users + len(current), used + sum(total.used for total in current)
        found = sorted([*found, *current], key=lambda total: -total.used)[:MOST]
        if not answer.next_page_token or time.monotonic() - began > MAX_SECONDS:
            return Most(found, users, used, bool(answer.next_page_token))
        request = usage.ListUsageTotalsRequest(
            feature_id=feature_id, page_size=TOTALS_PER_CALL, page_token=answer.next_page_token
        )
    return Most(found, users, used, is_cut=True)
