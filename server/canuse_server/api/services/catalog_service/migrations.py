"""The method of CatalogService that migrates subscriptions to another version of their package."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Final, NamedTuple

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.api.catalog.scans import UserScans, batches_of_users
from canuse_server.api.context import CallContext
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, ErrorReason, invalid, version_not_found
from canuse_server.api.services.catalog_service.packages import current_package
from canuse_server.api.tokens import migration as migration_tokens
from canuse_server.api.tokens.migration import Progress
from canuse_server.api.users.changes import Edit, change_user, entitlements_with
from canuse_server.api.validation import Violations
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.migration import Move, shrinks
from canuse_server.domain.model import Package, Subscription
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.store.keys import bucket_of
from canuse_server.store.repositories.users.state import UserState

MESSAGE_USERS: Final = 1000
"""Maximum number of users between two messages."""
MESSAGE_SECONDS: Final = 1.0
"""Maximum time between two messages."""


class _Changed(NamedTuple):
    """The result for a user: the number of migrated subscriptions, and whether access shrinks for any feature."""

    user_id: str
    subscriptions: int = 0
    shrinks: bool = False


class MigrationMethods(UserScans):
    """The method of CatalogService that moves subscriptions."""

    async def migrate_subscriptions(
        self, request: pb.MigrateSubscriptionsRequest, context: CallContext
    ) -> AsyncGenerator[pb.MigrateSubscriptionsResponse, None]:
        """Migrate subscriptions batch by batch, and report the progress.

        The progress is stored only in the messages to the caller, so a migration can end at any moment.
        """
        with self.admit_scan("migrations"):
            async with aclosing(self._migrate(request, context.env)) as messages:
                async for message in messages:
                    yield message

    async def _migrate(
        self, request: pb.MigrateSubscriptionsRequest, env: Environment
    ) -> AsyncGenerator[pb.MigrateSubscriptionsResponse, None]:
        move, start = await _begin(request, env)
        progress, reported, reported_at = start, start, time.monotonic()
        shrinking: list[str] = []
        async for progress, shrinking_in_batch in _steps(request, env, move, start):
            shrinking += shrinking_in_batch
            ending, now = env.closing.is_set(), time.monotonic()
            is_due = progress.users - reported.users >= MESSAGE_USERS or now - reported_at >= MESSAGE_SECONDS
            if ending or is_due:
                yield _message(request, progress, shrinking)
                reported, reported_at, shrinking = progress, now, []
            if ending:
                text = "the server is shutting down; resume with the last resume_token on another server"
                raise ApiError(ErrorReason.SHUTTING_DOWN, text)
        yield _message(request, progress, shrinking, done=True)


async def _begin(request: pb.MigrateSubscriptionsRequest, env: Environment) -> tuple[Move, Progress]:
    """Check a request; return the move and its progress so far."""
    violations = Violations()
    violations.id("package_id", request.package_id)
    violations.version("from_version", request.from_version)
    violations.version("to_version", request.to_version)
    violations.check()
    progress = migration_tokens.decode(request)
    package = await current_package(env, request.package_id)
    if progress is None:
        progress = Progress(request.to_version or package.published_version)
    from_version, to_version = request.from_version, progress.to_version
    _require_published(package, to_version)
    if from_version:
        _require_published(package, from_version)
    if from_version == to_version:
        accepted = f"must differ from to_version, {to_version}, or be 0 for any other version"
        raise invalid([("from_version", f"{accepted}; {from_version} was sent")])
    await env.cache.load_packages([(package.id, to_version)])
    return Move(package.id, from_version, to_version), progress


def _require_published(package: Package, version: int) -> None:
    if 0 < version <= package.published_version:
        return
    if version > package.version:
        raise version_not_found(package.id, version)
    version = version or package.version
    text = f"version {version} of package {package.id!r} is not published"
    raise ApiError(ErrorReason.PACKAGE_NOT_PUBLISHED, text, {"package_id": package.id, "version": str(version)})


async def _steps(
    request: pb.MigrateSubscriptionsRequest, env: Environment, move: Move, progress: Progress
) -> AsyncIterator[tuple[Progress, list[str]]]:
    """Migrate batch by batch; yield the progress after each, and the ids of its users whose access shrinks."""
    try:
        async for user_ids in batches_of_users(env, progress.bucket, progress.last):
            started_at = time.thread_time()
            changed = await _change_all(env, move, user_ids, dry_run=request.dry_run)
            progress = progress._replace(
                bucket=bucket_of(user_ids[-1]),
                last=user_ids[-1],
                users=progress.users + len(user_ids),
                migrated=progress.migrated + sum(user.subscriptions for user in changed),
                shrinking_users=progress.shrinking_users + sum(user.shrinks for user in changed),
            )
            # While this thread works, other calls wait: they get as much time as the batch took.
            await asyncio.sleep(time.thread_time() - started_at)
            yield progress, [user.user_id for user in changed if user.shrinks]
    except StoreUnavailableError as error:
        if request.dry_run:
            raise
        raise OutcomeUnknownError(str(error)) from error  # Some may already be migrated.


async def _change_all(env: Environment, move: Move, user_ids: list[str], *, dry_run: bool) -> list[_Changed]:
    """Migrate some users concurrently; return the results of those with subscriptions to migrate."""
    found, now_ms = await env.users.subscriptions(user_ids)
    # Often most users have nothing to migrate: they need no further read.
    moving = [user_id for user_id, items in zip(user_ids, found, strict=True) if move.of(items, now_ms)]
    step = _compare if dry_run else _change
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step(env, move, user_id)) for user_id in moving]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _compare(env: Environment, move: Move, user_id: str) -> _Changed:
    """Return the result that the migration of a user would have."""
    state = await env.users.read(user_id)
    if state is None:
        return _Changed(user_id)
    moved = move.of(state.subscriptions, state.now_ms)
    return await _changed(env, state, moved, await entitlements_with(env, state, moved))


async def _change(env: Environment, move: Move, user_id: str) -> _Changed:
    """Migrate the subscriptions of a user."""

    async def edit(state: UserState) -> tuple[Edit | None, tuple[Subscription, ...]]:
        moved = move.of(state.subscriptions, state.now_ms)
        return (Edit(moved) if moved else None), moved

    try:
        state, entitlements, moved = await change_user(env, user_id, edit)
    except ApiError as error:
        if error.reason is not ErrorReason.USER_NOT_FOUND:
            raise
        return _Changed(user_id)  # The user was deleted meanwhile.
    return await _changed(env, state, moved, entitlements)


async def _changed(
    env: Environment, state: UserState, moved: tuple[Subscription, ...], after: Mapping[str, Entitlement]
) -> _Changed:
    if not moved:
        return _Changed(state.user_id)
    # The stored entitlements may be stale.
    before = state.entitlements if state.is_current() else await entitlements_with(env, state)
    return _Changed(state.user_id, len(moved), shrinks(before, after))


def _message(
    request: pb.MigrateSubscriptionsRequest, progress: Progress, shrinking: list[str], *, done: bool = False
) -> pb.MigrateSubscriptionsResponse:
    return pb.MigrateSubscriptionsResponse(
        users=progress.users,
        migrated=progress.migrated,
        shrinking_users=progress.shrinking_users,
        shrinking_user_ids=shrinking,
        resume_token=migration_tokens.encode(request, progress),
        done=done,
    )
