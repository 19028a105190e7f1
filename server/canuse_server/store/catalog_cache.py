"""The catalogue in the server's memory: features are looked up for every call, and published versions never change."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from canuse_server.domain.model import Feature, Package
from canuse_server.store.catalog import CatalogStore
from canuse_server.store.client import Store
from canuse_server.store.following import follow
from canuse_server.store.keys import Keys

POLL_SECONDS = 1.0
"""How old what is in memory can become where a message about a change is lost."""


class CatalogCache:
    """Features by id and published packages by id and version."""

    def __init__(self, catalog: CatalogStore, store: Store, keys: Keys) -> None:
        self._catalog = catalog
        self._store = store
        self._keys = keys
        self._version = -1
        self._reading = asyncio.Lock()
        self.features: dict[str, Feature] = {}
        self.packages: dict[tuple[str, int], Package] = {}

    async def refresh(self) -> None:
        """Read all features again if the catalogue has changed."""
        async with self._reading:
            version = await self._catalog.version()
            if version != self._version:
                self.features = {feature.id: feature for feature in await self._catalog.features()}
                # Only now: what changed while the features were read is read again the next time.
                self._version = version

    async def find_feature(self, feature_id: str) -> Feature | None:
        """Return a feature from memory, or else from the store: another server may have made it a moment ago."""
        feature = self.features.get(feature_id) or await self._catalog.feature(feature_id)
        if feature is not None:
            self.features[feature_id] = feature
        return feature

    async def load_packages(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Have published versions of packages, and the features they list, in memory."""
        missing = [version for version in wanted if version not in self.packages]
        for package in await self._catalog.package_versions(missing) if missing else ():
            for entry in package.features:
                await self.find_feature(entry.feature_id)
            self.packages[package.id, package.version] = package

    def follow(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what keeps it fresh: by the version number once a second, and at once when told of a change."""
        return follow(self._store, self._keys.catalog_channel, self.refresh, POLL_SECONDS, "the catalogue")
