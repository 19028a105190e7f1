"""Everybody who would lose something by publishing a draft or archiving a feature, page by page."""

from typing import Any, Final

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.api.errors import ApiError
from canuse_server.transport.http.console.actions.catalog.dry_run import DryRun, archiving, dry_run, publishing
from canuse_server.transport.http.console.addresses import HOME, address
from canuse_server.transport.http.console.visit import Redirect, View, Visit

PAGE_SIZE: Final = 100
"""How many losses are on a page, besides the rest of the last user's."""


async def of_package(visit: Visit) -> View | Redirect:
    """Show who would lose something if subscriptions were moved to the draft of a package."""
    request = pb.GetPackageRequest(package_id=visit.query("id"))
    package = (await visit.call("CatalogService/GetPackage", request, pb.GetPackageResponse)).package
    found = await _losses(visit, publishing(package))
    if found is None:
        return Redirect(address("/package/losses", id=package.id))
    text = (
        f"What users would lose if their subscriptions were moved to version {package.version}. Publishing moves none."
    )
    return _view(visit, found, text=text, back=address("/package/publish", id=package.id))


async def of_feature(visit: Visit) -> View | Redirect:
    """Show who would lose a feature if it were archived."""
    request = pb.GetFeatureRequest(feature_id=visit.query("id"))
    feature = (await visit.call("CatalogService/GetFeature", request, pb.GetFeatureResponse)).feature
    found = await _losses(visit, archiving(feature))
    if found is None:
        return Redirect(address("/feature/losses", id=feature.id))
    text = "What users would lose if the feature were archived, at once."
    return _view(visit, found, text=text, back=address("/feature/archive", id=feature.id))


async def _losses(visit: Visit, document: pb.ApplyCatalogRequest) -> DryRun | None:
    """Return the losses of a page; None if what they are about has been changed since the page before it."""
    token = visit.query("page_token")
    try:
        return await dry_run(visit, document, named=PAGE_SIZE, resume_token=token, until_named=True)
    except ApiError as error:
        if token and any(field == "resume_token" for field, _ in error.violations):
            return None
        raise


def _view(visit: Visit, found: DryRun, **values: Any) -> View:
    next_page = found.resume_token and address(
        visit.request.url.path.removeprefix(HOME), id=visit.query("id"), page_token=found.resume_token
    )
    subject, is_first = visit.query("id"), not visit.query("page_token")
    values |= {"subject": subject, "found": found, "is_first": is_first, "next_page": next_page}
    return View("actions/losses.html", values)
