"""Grants: one-off amounts of a feature for one user."""

from dataclasses import replace
from typing import Final

from canuse.v1 import subscription_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import grant_message, timestamp
from canuse_server.api.errors import ApiError, ErrorReason, feature_not_found, invalid, user_not_found
from canuse_server.api.tokens import page as page_tokens
from canuse_server.api.users.changes import Edit, change_user, create_default_user
from canuse_server.api.validation import Violations, require_id
from canuse_server.domain.model import FeatureType, Grant
from canuse_server.store.errors import ConflictError
from canuse_server.store.repositories.users.change import PlacedGrant
from canuse_server.store.repositories.users.state import UserState

MAX_PRIORITY: Final = 1_000_000
MAX_GRANTS: Final = 1000
"""Maximum number of grants of one feature for one user: every check of the feature reads 32 bytes for each."""


class GrantMethods:
    """The methods of SubscriptionService for grants."""

    async def create_grant(self, request: pb.CreateGrantRequest, context: CallContext) -> pb.CreateGrantResponse:
        """Create a grant; a repetition with the same id and content changes nothing."""
        requested = request.grant
        violations = Violations()
        draft = _check(violations, requested)
        feature = await context.env.cache.find_feature(requested.feature_id)
        if feature is None:
            raise feature_not_found(requested.feature_id)
        if feature.type == FeatureType.BINARY and draft.amount is not None:
            text = f"must not be given for the binary feature {feature.id!r}: its use is not counted"
            raise invalid([("grant.amount", f"{text}; {draft.amount} was sent")])

        async def edit(state: UserState) -> tuple[Edit, Grant]:
            start_ms = draft.effective_at_ms if requested.HasField("effective_at") else state.now_ms
            grant = replace(draft, effective_at_ms=start_ms, created_at_ms=state.now_ms)
            known = await context.env.users.grants(requested.user_id)
            if existing := next((other for other in known if other.id == grant.id), None):
                _refuse_other(requested.user_id, existing, grant, given_start=requested.HasField("effective_at"))
                return Edit(), existing
            if feature.archived:
                text, ids = f"feature {feature.id!r} is archived", {"feature_id": feature.id}
                raise ApiError(ErrorReason.FEATURE_ARCHIVED, text, ids)
            if grant.expires_at_ms is not None and grant.expires_at_ms <= start_ms:
                start, end = timestamp(start_ms), timestamp(grant.expires_at_ms)
                text = f"must be after effective_at, {start.ToJsonString()}; {end.ToJsonString()} was sent"
                raise invalid([("grant.expires_at", text)])
            order = _order(state, known, grant)
            if len(order) > MAX_GRANTS:
                text = f"user {requested.user_id!r} already has {MAX_GRANTS} grants of feature {feature.id!r}"
                ids = {"user_id": requested.user_id, "feature_id": feature.id}
                raise ApiError(ErrorReason.TOO_MANY_GRANTS, text, ids)
            return Edit(grant=grant, grant_order=order), grant

        if context.env.default_package and await context.env.users.read(requested.user_id) is None:
            await create_default_user(context.env, requested.user_id)
        grant = (await change_user(context.env, requested.user_id, edit)).result
        return pb.CreateGrantResponse(grant=grant_message(requested.user_id, grant))

    async def list_grants(self, request: pb.ListGrantsRequest, context: CallContext) -> pb.ListGrantsResponse:
        """List a user's grants by id."""
        (_, last) = page_tokens.decode(request)
        user_id = require_id("user_id", request.user_id)
        if await context.env.users.read(user_id) is None:
            raise user_not_found(user_id)
        rest = sorted(
            (grant for grant in await context.env.users.grants(user_id) if grant.id > last), key=lambda g: g.id
        )
        grants, token = await page_tokens.fill(
            request, rest, lambda grant: grant_message(user_id, grant), lambda grant: (grant.id, 0)
        )
        return pb.ListGrantsResponse(grants=grants, next_page_token=token)

    async def revoke_grant(self, request: pb.RevokeGrantRequest, context: CallContext) -> pb.RevokeGrantResponse:
        """Revoke a grant: it gives nothing more, but use that was drawn from it stays counted."""
        violations = Violations()
        violations.id("user_id", request.user_id)
        violations.id("grant_id", request.grant_id)
        violations.check()

        async def edit(state: UserState) -> tuple[Edit, Grant]:
            known = await context.env.users.grants(request.user_id)
            grant = next((other for other in known if other.id == request.grant_id), None)
            if grant is None:
                text = f"user {request.user_id!r} has no grant {request.grant_id!r}"
                ids = {"user_id": request.user_id, "grant_id": request.grant_id}
                raise ApiError(ErrorReason.GRANT_NOT_FOUND, text, ids)
            if grant.revoked_at_ms is not None:
                return Edit(), grant
            revoked = replace(grant, revoked_at_ms=state.now_ms)
            return Edit(grant=revoked, grant_order=_order(state, known, revoked)), revoked

        grant = (await change_user(context.env, request.user_id, edit)).result
        return pb.RevokeGrantResponse(grant=grant_message(request.user_id, grant))


def _check(violations: Violations, requested: pb.Grant) -> Grant:
    """Check a grant and return it; raise ApiError. Without a given start, `effective_at_ms` is 0."""
    violations.id("grant.id", requested.id)
    violations.id("grant.user_id", requested.user_id)
    violations.id("grant.feature_id", requested.feature_id)
    violations.text("grant.note", requested.note)
    if requested.HasField("amount"):
        violations.amount("grant.amount", requested.amount, 1)
    if not 0 <= requested.priority <= MAX_PRIORITY:
        violations.add("grant.priority", f"must be 0 to {MAX_PRIORITY}; {requested.priority} was sent")
    start_ms = violations.time_ms("grant.effective_at", requested.effective_at)
    end_ms = violations.time_ms("grant.expires_at", requested.expires_at) if requested.HasField("expires_at") else None
    violations.check()
    return Grant(
        id=requested.id,
        feature_id=requested.feature_id,
        amount=requested.amount if requested.HasField("amount") else None,
        effective_at_ms=start_ms,
        created_at_ms=0,
        expires_at_ms=end_ms,
        priority=requested.priority,
        note=requested.note,
    )


def _refuse_other(user_id: str, existing: Grant, grant: Grant, *, given_start: bool) -> None:
    """Raise GRANT_EXISTS unless the requested grant has the content of the existing one."""
    same = replace(
        grant,
        effective_at_ms=grant.effective_at_ms if given_start else existing.effective_at_ms,
        created_at_ms=existing.created_at_ms,
        revoked_at_ms=existing.revoked_at_ms,
    )
    if same != existing:
        text, ids = f"user {user_id!r} already has a different grant with the id {grant.id!r}", {"grant_id": grant.id}
        raise ApiError(ErrorReason.GRANT_EXISTS, text, {"user_id": user_id, **ids})


def _order(state: UserState, known: list[Grant], changed: Grant) -> tuple[PlacedGrant, ...]:
    """Return the order of a feature's grants with a new or changed one; `known` are all grants in the current order.

    Raises:
        ConflictError: the grants have changed since the user was read.
    """
    before = [grant for grant in known if grant.feature_id == changed.feature_id]
    if len(before) != len(state.grants.get(changed.feature_id, ())):
        raise ConflictError
    places = {grant.id: place for place, grant in enumerate(before, start=1)}
    after = sorted([*(grant for grant in before if grant.id != changed.id), changed], key=Grant.order)
    return tuple(PlacedGrant(places.get(grant.id, 0), grant) for grant in after)
