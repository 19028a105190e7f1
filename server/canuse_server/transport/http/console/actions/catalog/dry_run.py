"""What a change of the catalogue would do, and to whom, before it is made."""

import time
from collections import Counter
from typing import Final, NamedTuple

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.transport.http.console.visit import Visit

MAX_SECONDS: Final = 3.0
"""When no further users are looked at: a page does not take longer."""

NAMED: Final = 20
"""How many losses are named beside a form; all of them are on a page of their own."""


class DryRun(NamedTuple):
    """The result of a dry run."""

    changes: list[pb.CatalogChange]
    losses: list[tuple[str, int]]
    """Features, and how many users would lose access to them."""
    named: list[pb.CatalogUserLoss]
    """The first losses, user by user."""
    users: int
    """How many users were looked at; 0 where no change can take access away."""
    resume_token: str
    """With which further users are looked at; empty where there are none."""

    @property
    def is_cut(self) -> bool:
        """Whether there may be losses that are not named."""
        return bool(self.resume_token) or sum(users for _, users in self.losses) > len(self.named)


def publishing(package: pb.Package) -> pb.ApplyCatalogRequest:
    """Return the document that publishes a draft. Another version stays what it is."""
    request = pb.ApplyCatalogRequest(packages=[package])
    if package.status == pb.PACKAGE_STATUS_DRAFT:
        request.packages[0].status = pb.PACKAGE_STATUS_PUBLISHED
    return request


def archiving(feature: pb.Feature) -> pb.ApplyCatalogRequest:
    """Return the document that archives a feature."""
    request = pb.ApplyCatalogRequest(features=[feature])
    request.features[0].archived = True
    return request


async def dry_run(
    visit: Visit, document: pb.ApplyCatalogRequest, *, named: int, resume_token: str = "", until_named: bool = False
) -> DryRun:
    """Say what applying a document would do, without doing it; name so many losses, or some more.

    It begins where another one ended if its token is given. `until_named`: it ends when so many are named. Raises
    ApiError.
    """
    request = pb.ApplyCatalogRequest()
    request.CopyFrom(document)
    request.dry_run, request.resume_token = True, resume_token
    began, users, losses = time.monotonic(), 0, Counter[str]()
    found: list[pb.CatalogUserLoss] = []
    changes: list[pb.CatalogChange] | None = None
    while True:
        sent = pb.ApplyCatalogRequest()
        sent.CopyFrom(request)
        sent.max_user_losses = max(named - len(found), 0)
        answer = await visit.call(
            "CatalogService/ApplyCatalog", sent, pb.ApplyCatalogResponse, shown=sent.resume_token == resume_token
        )
        changes = list(answer.changes) if changes is None else changes
        users += answer.users
        found += answer.user_losses
        for loss in answer.access_losses:
            losses[loss.feature_id] += loss.users
        is_enough = until_named and len(found) >= named
        if not answer.resume_token or is_enough or time.monotonic() - began > MAX_SECONDS:
            return DryRun(changes, losses.most_common(), found, users, answer.resume_token)
        request.resume_token = answer.resume_token
