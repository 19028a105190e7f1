"""The method of CatalogService that applies a catalogue as one document."""

from typing import Final

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.api.catalog.document import Document, Plan, plan_of, read_document
from canuse_server.api.catalog.losses import UserLoss, count_losses, risks_of
from canuse_server.api.catalog.scans import UserScans
from canuse_server.api.context import CallContext
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, ErrorReason, invalid
from canuse_server.api.tokens import catalog as catalog_tokens
from canuse_server.api.tokens import migration as migration_tokens
from canuse_server.api.users.retry import retry_on_conflict
from canuse_server.domain.catalog_changes import Change
from canuse_server.domain.entitlements import Entitlement
from canuse_server.store.repositories.catalog_snapshot import CatalogWrite

ANSWER_BYTES: Final = 3 << 20
"""The most bytes of an answer: clients accept 4 MiB."""
VALUE_BYTES: Final = 256
"""The most bytes of a value of a changed field; longer ones are shortened."""
MAX_USER_LOSSES: Final = 1000
"""How many losses a dry run names at most in one answer, besides the rest of the last user's."""
NO_STAMP: Final = b"0"
"""The etag of a catalogue before its first change."""


class CatalogDocumentMethods(UserScans):
    """The method of CatalogService that applies a catalogue as one document."""

    async def apply_catalog(self, request: pb.ApplyCatalogRequest, context: CallContext) -> pb.ApplyCatalogResponse:
        """Make the catalogue what a document says, in one step, or say what that would change."""
        max_named = _max_user_losses(request)
        document, env = await read_document(request), context.env
        place = catalog_tokens.decode(request, migration_tokens.LENGTH)
        now_ms = await env.store.now_ms()

        async def apply() -> tuple[Plan, pb.ApplyCatalogResponse]:
            plan, response, stamp = await _planned(env, request, document, now_ms)
            if not request.dry_run and not plan.is_empty:
                write = CatalogWrite(stamp, [*plan.features.values()], [*plan.packages.values()])
                response.etag = (await env.cache.apply(env.snapshots, write)).decode()
            return plan, response

        plan, response = await retry_on_conflict(apply, "the catalogue")
        risks = risks_of(plan)
        if request.dry_run and risks:
            with self.admit_scan("dry runs and migrations"):
                losses = await count_losses(env, risks, place, max_named)
            response.users = losses.users
            if losses.next is not None:
                response.resume_token = catalog_tokens.encode(request, losses.next)
            for (package_id, feature_id), users in sorted(losses.users_by_loss.items()):
                response.access_losses.add(feature_id=feature_id, package_id=package_id, users=users)
            response.user_losses.extend(map(_user_loss, losses.named))
            _check_size(response)
        return response


async def _planned(
    env: Environment, request: pb.ApplyCatalogRequest, document: Document, now_ms: int
) -> tuple[Plan, pb.ApplyCatalogResponse, bytes]:
    """Return the plan for the catalogue as it is, the answer that lists its changes, and the catalogue's stamp."""
    snapshot = await env.snapshots.read(document.feature_ids(), document.packages, rest=request.archive_missing)
    plan = await plan_of(document, snapshot, now_ms, archive_missing=request.archive_missing)
    etag = (snapshot.stamp or NO_STAMP).decode()
    if request.etag and request.etag != etag and not plan.is_empty:
        text = "the catalogue has changed since the given etag; nothing was written"
        raise ApiError(ErrorReason.CATALOG_CHANGED, text, {"etag": etag})
    response = pb.ApplyCatalogResponse(etag=etag)
    for feature_id, changes in plan.feature_changes.items():
        response.changes.extend(_message(pb.CatalogChange(feature_id=feature_id), change) for change in changes)
    for package_id, changes in plan.package_changes.items():
        response.changes.extend(_message(pb.CatalogChange(package_id=package_id), change) for change in changes)
    _check_size(response)
    return plan, response, snapshot.stamp


def _max_user_losses(request: pb.ApplyCatalogRequest) -> int:
    """Return how many losses are to be named; raise ApiError if it is not accepted."""
    value = request.max_user_losses
    if not 0 <= value <= MAX_USER_LOSSES:
        raise invalid([("max_user_losses", f"must be 0 to {MAX_USER_LOSSES}; {value} was sent")])
    return value


def _user_loss(named: UserLoss) -> pb.CatalogUserLoss:
    return pb.CatalogUserLoss(
        user_id=named.user_id,
        feature_id=named.loss.feature_id,
        package_id=named.loss.package_id,
        before=_given(named.loss.feature_id, named.before),
        after=_given(named.loss.feature_id, named.after),
    )


def _given(feature_id: str, entitlement: Entitlement | None) -> pb.PackageFeature | None:
    """Return what packages give, as if it were one package; None: nothing."""
    if entitlement is None or not entitlement.active or entitlement.granted:
        return None
    given = pb.PackageFeature(feature_id=feature_id)
    if entitlement.consumable:
        given.reset_period = pb.ResetPeriod.ValueType(entitlement.reset_period)
        given.overage_enabled = entitlement.overage_enabled
        if entitlement.limit is not None:
            given.limit = entitlement.limit
    return given


def _check_size(response: pb.ApplyCatalogResponse) -> None:
    if (size := response.ByteSize()) > ANSWER_BYTES:
        text = f"the answer has {size} bytes, the maximum is {ANSWER_BYTES}; nothing was written"
        raise ApiError(ErrorReason.MESSAGE_TOO_LARGE, f"{text}; apply the document in parts")


def _message(message: pb.CatalogChange, change: Change) -> pb.CatalogChange:
    """Return a message about an item with its change."""
    message.action = pb.CatalogAction.ValueType(change.action)
    message.version = change.version
    for field, old, new in change.fields:
        message.fields.add(field=field, old_value=_clipped(old), new_value=_clipped(new))
    return message


def _clipped(value: str) -> str:
    encoded = value.encode()
    return value if len(encoded) <= VALUE_BYTES else encoded[:VALUE_BYTES].decode(errors="ignore") + "…"
