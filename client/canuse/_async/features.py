"""Features of the catalogue."""

# ruff: noqa: A002 - `type` is what the field is called everywhere else too

from collections.abc import AsyncIterator, Mapping

from canuse import _requests, v1
from canuse._arguments import build, optional
from canuse._async.base import BaseClient
from canuse._requests import UNSET, Unset


class FeatureMethods(BaseClient):
    """Features of the catalogue."""

    async def create_feature(
        self,
        feature_id: str,
        *,
        type: v1.FeatureType.ValueType,
        name: str = "",
        unit_label: str = "",
        unit_label_plural: str = "",
        metadata: Mapping[str, str] | None = None,
        on_unavailable: v1.OnUnavailable.ValueType = v1.ON_UNAVAILABLE_DENY,
    ) -> v1.Feature:
        """Create a feature.

        Args:
            feature_id: Your id for it, 1 to 128 bytes without control characters.
            type: `v1.FEATURE_TYPE_BINARY` or `v1.FEATURE_TYPE_CONSUMABLE`. It cannot change.
            name: Display name.
            unit_label: Name of one unit ("message").
            unit_label_plural: Name of several units ("messages").
            metadata: Metadata to store with the feature: at most 16 pairs, 2 KiB in total.
            on_unavailable: What `can_use` answers while the store is unavailable: no, yes, or the last known state.

        Raises:
            AlreadyExists: The id is in use.
        """
        feature = build(
            v1.Feature,
            id=feature_id,
            type=type,
            name=name,
            unit_label=unit_label,
            unit_label_plural=unit_label_plural,
            on_unavailable=on_unavailable,
            **optional(metadata=metadata),
        )
        response = await self._call(self._stubs.catalog.CreateFeature, v1.CreateFeatureRequest(feature=feature))
        return response.feature

    async def get_feature(self, feature_id: str) -> v1.Feature:
        """Get a feature. NotFound if it does not exist."""
        request = build(v1.GetFeatureRequest, feature_id=feature_id)
        response = await self._call(self._stubs.catalog.GetFeature, request)
        return response.feature

    async def update_feature(
        self,
        feature_id: str,
        *,
        name: str | Unset = UNSET,
        unit_label: str | Unset = UNSET,
        unit_label_plural: str | Unset = UNSET,
        metadata: Mapping[str, str] | Unset = UNSET,
        on_unavailable: v1.OnUnavailable.ValueType | Unset = UNSET,
    ) -> v1.Feature:
        """Change the given fields of a feature, and no others.

        Returns:
            The feature after the change.

        Raises:
            NotFound: The feature does not exist.
            BadArgument: No field was given.
        """
        request = _requests.update_feature(
            feature_id,
            name=name,
            unit_label=unit_label,
            unit_label_plural=unit_label_plural,
            metadata=metadata,
            on_unavailable=on_unavailable,
        )
        response = await self._call(self._stubs.catalog.UpdateFeature, request)
        return response.feature

    def list_features(self, *, page_size: int = 50) -> AsyncIterator[v1.Feature]:
        """Iterate over all features by id, including archived ones."""
        request = build(v1.ListFeaturesRequest, page_size=page_size)
        return self._pages(self._stubs.catalog.ListFeatures, request, lambda page: page.features)

    async def archive_feature(self, feature_id: str) -> v1.Feature:
        """Archive a feature: from then on nobody may use it. This cannot be undone. NotFound if it does not exist."""
        request = build(v1.ArchiveFeatureRequest, feature_id=feature_id)
        response = await self._call(self._stubs.catalog.ArchiveFeature, request)
        return response.feature
