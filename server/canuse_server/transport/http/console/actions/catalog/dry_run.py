"""What a change of the catalogue would do, and to whom, before it is made."""

import time
from collections import Counter
from typing import Final, NamedTuple

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.transport.http.console.visit import Visit

MAX_SECONDS: Final = 3.0
"""When no further users are counted: a page does not take longer."""


class DryRun(NamedTuple):
    """The result of a dry run."""

    changes: list[pb.CatalogChange]
    losses: list[tuple[str, int]]
    """Features, and how many users would lose access to them."""
    users: int
    """How many users were looked at; 0 where no change can take access away."""
    is_cut: bool
    """Whether there are further users."""


async def dry_run(visit: Visit, request: pb.ApplyCatalogRequest) -> DryRun:
    """Say what applying a document would do, without doing it. Raises ApiError."""
    request.dry_run = True
    began, users = time.monotonic(), 0
    losses: Counter[str] = Counter()
    while True:
        answer = await visit.call(
            "CatalogService/ApplyCatalog", request, pb.ApplyCatalogResponse, shown=not request.resume_token
        )
        users += answer.users
        for loss in answer.access_losses:
            losses[loss.feature_id] += loss.users
        if not answer.resume_token or time.monotonic() - began > MAX_SECONDS:
            return DryRun(list(answer.changes), losses.most_common(), users, bool(answer.resume_token))
        sent = pb.ApplyCatalogRequest()
        sent.CopyFrom(request)
        sent.resume_token = answer.resume_token
        request = sent
