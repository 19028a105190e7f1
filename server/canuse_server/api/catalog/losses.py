"""Who would lose access by a change of the catalogue: the dry run of the migrations that would follow it."""

import asyncio
import time
from collections import Counter
from typing import Final, NamedTuple

from canuse_server.api.catalog.document import Plan
from canuse_server.api.catalog.scans import batches_of_users
from canuse_server.api.environment import Environment
from canuse_server.api.tokens.catalog import Place
from canuse_server.api.users.changes import PlannedVersions, entitlements_with
from canuse_server.domain.catalog_changes import CatalogAction
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.migration import Move, shrinking_features
from canuse_server.store.keys import bucket_of
from canuse_server.store.repositories.users.state import UserState

COUNT_SECONDS: Final = 1.0
"""How long one call counts."""


class Loss(NamedTuple):
    """A loss of access to a feature by a migration of a package, or by archiving the feature if `package_id` is ''."""

    package_id: str
    feature_id: str


class UserLoss(NamedTuple):
    """A loss of a user: what packages give of the feature, and what they would give. None: nothing."""

    user_id: str
    loss: Loss
    before: Entitlement
    after: Entitlement | None


class Losses(NamedTuple):
    """How many users have each loss, among so many users; `next` is where to continue, None if all are counted."""

    users_by_loss: Counter[Loss]
    users: int
    named: list[UserLoss]
    next: Place | None


class Risks(NamedTuple):
    """The changes by which users can lose access: migrations, and features that are archived."""

    moves: list[Move]
    versions: PlannedVersions
    archived: list[str]

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.moves or self.archived)


def risks_of(plan: Plan) -> Risks:
    """Return the changes of a plan by which users can lose access. The first version of a package has no users."""
    published = [write.published for write in plan.packages.values() if write.published is not None]
    versions = {(package.id, package.version): package for package in published if package.version > 1}
    listed = {entry.feature_id for package in versions.values() for entry in package.features}
    types = {feature_id: plan.known[feature_id].type for feature_id in listed}
    moves = [Move(package_id, 0, version) for package_id, version in versions]
    archived = [
        feature_id
        for feature_id, changes in plan.feature_changes.items()
        if any(change.action == CatalogAction.ARCHIVE for change in changes)
    ]
    return Risks(moves, PlannedVersions(versions, types), archived)


async def count_losses(env: Environment, risks: Risks, place: Place, max_named: int = 0) -> Losses:
    """Count the users after a place who would lose access, for about a second, or until so many losses are named."""
    counts: Counter[Loss] = Counter()
    named: list[UserLoss] = []
    users, stop_at = 0, time.monotonic() + COUNT_SECONDS
    async for user_ids in batches_of_users(env, *place):
        if users and (time.monotonic() >= stop_at or env.closing.is_set()):
            return Losses(counts, users, named, place)
        started_at = time.thread_time()
        for user_id, state in zip(user_ids, await env.users.read_all(user_ids), strict=True):
            if max_named and len(named) >= max_named:
                return Losses(counts, users, named, place)
            losses = [] if state is None else await _losses_of(env, risks, state)
            counts.update(each.loss for each in losses)
            named += losses if max_named else ()
            users, place = users + 1, Place(bucket_of(user_id), user_id)
        # While this thread works, other calls wait: they get as much time as the batch took.
        await asyncio.sleep(time.thread_time() - started_at)
    return Losses(counts, users, named, None)


async def _losses_of(env: Environment, risks: Risks, state: UserState) -> list[UserLoss]:
    """Return the losses of one user."""
    moved = [(move, move.of(state.subscriptions, state.now_ms)) for move in risks.moves]
    moved = [(move, subscriptions) for move, subscriptions in moved if subscriptions]
    if not moved and not risks.archived:
        return []
    # The stored entitlements may be stale.
    before = state.entitlements if state.is_current() else await entitlements_with(env, state)
    losses = [
        UserLoss(state.user_id, Loss("", feature_id), before[feature_id], None)
        for feature_id in risks.archived
        if _is_active(before.get(feature_id))
    ]
    for move, subscriptions in moved:
        after = await entitlements_with(env, state, subscriptions, risks.versions)
        losses += [
            UserLoss(state.user_id, Loss(move.package_id, feature_id), before[feature_id], after.get(feature_id))
            for feature_id in shrinking_features(before, after)
        ]
    return losses


def _is_active(entitlement: Entitlement | None) -> bool:
    return entitlement is not None and entitlement.active
