"""CatalogService: features and packages."""

from dataclasses import replace
from typing import Final

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import feature_message
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, ErrorReason, feature_not_found
from canuse_server.api.services.catalog_service.documents import CatalogDocumentMethods
from canuse_server.api.services.catalog_service.input import check_feature
from canuse_server.api.services.catalog_service.migrations import MigrationMethods
from canuse_server.api.services.catalog_service.packages import PackageMethods
from canuse_server.api.tokens import page as page_tokens
from canuse_server.api.users.retry import retry_on_conflict
from canuse_server.api.validation import masked, page_size, require_id
from canuse_server.domain.model import Feature, FeatureType, OnUnavailable
from canuse_server.store.errors import ConflictError

FEATURE_FIELDS: Final = ("name", "unit_label", "unit_label_plural", "metadata", "on_unavailable")


class CatalogServicer(PackageMethods, MigrationMethods, CatalogDocumentMethods):
    """CatalogService; other methods are in `packages.py`, `migrations.py` and `documents.py`."""

    async def create_feature(self, request: pb.CreateFeatureRequest, context: CallContext) -> pb.CreateFeatureResponse:
        """Create a feature."""
        requested = request.feature
        check_feature(requested, created=True)
        feature = Feature(
            id=requested.id,
            type=FeatureType(requested.type),
            created_at_ms=await context.env.store.now_ms(),
            name=requested.name,
            unit_label=requested.unit_label,
            unit_label_plural=requested.unit_label_plural,
            metadata=dict(requested.metadata),
            on_unavailable=_on_unavailable(requested),
        )
        try:
            await context.env.cache.put_feature(None, feature)
        except ConflictError:
            text, ids = f"feature {feature.id!r} already exists", {"feature_id": feature.id}
            raise ApiError(ErrorReason.FEATURE_EXISTS, text, ids) from None
        return pb.CreateFeatureResponse(feature=feature_message(feature))

    async def get_feature(self, request: pb.GetFeatureRequest, context: CallContext) -> pb.GetFeatureResponse:
        """Get a feature."""
        feature = await _feature(context.env, require_id("feature_id", request.feature_id))
        return pb.GetFeatureResponse(feature=feature_message(feature))

    async def update_feature(self, request: pb.UpdateFeatureRequest, context: CallContext) -> pb.UpdateFeatureResponse:
        """Change fields of a feature."""
        requested = request.feature
        check_feature(requested, created=False)
        chosen = masked(request.update_mask, requested, FEATURE_FIELDS)
        values = {name: getattr(requested, name) for name in FEATURE_FIELDS}
        values |= {"metadata": dict(requested.metadata), "on_unavailable": _on_unavailable(requested)}
        feature = await _put_feature(context.env, requested.id, {name: values[name] for name in chosen})
        return pb.UpdateFeatureResponse(feature=feature_message(feature))

    async def list_features(self, request: pb.ListFeaturesRequest, context: CallContext) -> pb.ListFeaturesResponse:
        """List features by id."""
        size, (_, last) = page_size(request.page_size), page_tokens.decode(request)
        found = await context.env.catalog.feature_page(last, size + 1)
        features, token = await page_tokens.fill(request, found, feature_message, lambda feature: (feature.id, 0))
        return pb.ListFeaturesResponse(features=features, next_page_token=token)

    async def archive_feature(
        self, request: pb.ArchiveFeatureRequest, context: CallContext
    ) -> pb.ArchiveFeatureResponse:
        """Archive a feature."""
        feature = await _put_feature(context.env, require_id("feature_id", request.feature_id), {"archived": True})
        return pb.ArchiveFeatureResponse(feature=feature_message(feature))


def _on_unavailable(requested: pb.Feature) -> OnUnavailable:
    return OnUnavailable(requested.on_unavailable or OnUnavailable.DENY)


async def _feature(env: Environment, feature_id: str) -> Feature:
    feature = await env.catalog.feature(feature_id)
    if feature is None:
        raise feature_not_found(feature_id)
    return feature


async def _put_feature(env: Environment, feature_id: str, changes: dict[str, object]) -> Feature:
    async def replace_feature() -> Feature:
        old = await env.cache.stored_feature(feature_id)
        if old is None:
            raise feature_not_found(feature_id)
        new = replace(old.item, **changes)  # type: ignore[arg-type]
        if new != old.item:
            await env.cache.put_feature(old, new)
        return new

    return await retry_on_conflict(replace_feature, f"feature {feature_id!r}")
