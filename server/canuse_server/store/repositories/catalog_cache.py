"""The catalogue in memory: every call looks up features, and published versions never change.

A read during a change of the catalogue can arrive late. So each feature has a catalogue number up to which it is
current, and does not replace a feature with a higher number. Numbers are comparable within one history of the store;
data of another history is discarded.
"""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Final

import structlog

from canuse_server.domain.model import Feature, Package, PackageStatus
from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.keys import Keys
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.catalog import CatalogStore, Changes, Stored, usable
from canuse_server.store.repositories.catalog_snapshot import CatalogSnapshots, CatalogWrite
from canuse_server.store.repositories.invalidation import keep_fresh
from canuse_server.store.repositories.stamps import number_of

log = structlog.get_logger(__name__)

POLL_INTERVAL_SECONDS: Final = 1.0
"""Maximum age of the cache if a message about a change is lost."""
FEATURES_PER_READ: Final = 50
"""Number of features read in one round trip; decoding them takes less than a millisecond of the event loop."""
IDS_PER_READ: Final = 1000
PACKAGES_PER_READ: Final = 50


class PublishedPackages(dict[tuple[str, int], Package]):
    """Published packages by id and version."""

    def __missing__(self, key: tuple[str, int]) -> Package:
        """Raise StoreUnavailableError: entitlements computed without the package would be stored."""
        raise StoreUnavailableError(f"version {key[1]} of package {key[0]!r} is not in the store, or can't be read")


class CatalogCache:
    """Features by id and published packages by id and version."""

    def __init__(self, catalog: CatalogStore, store: Store, keys: Keys) -> None:
        self._catalog = catalog
        self._store = store
        self._keys = keys
        self._stamp: bytes | None = None
        self._number = 0
        """All features in memory are current up to this number; those in `_ahead` up to the number there."""
        self._ahead: dict[str, int] = {}
        self._history = 0
        """Number of histories of the store seen so far."""
        self._link: object = None
        self._reading = asyncio.Lock()
        self._packages_by_feature: tuple[bytes, dict[str, list[str]]] | None = None
        self.refreshed_at = time.monotonic()
        """Time of the last successful refresh, by `time.monotonic`; at first, of the start."""
        self.features: dict[str, Feature] = {}
        self.packages = PublishedPackages()

    async def refresh(self) -> None:
        """Read the changed features, or all features if the changes are unknown or the history is another one."""
        async with self._reading:
            link = self._store.link(self._keys.catalog_version)
            stamp = await self._catalog.stamp()
            if stamp != self._stamp:
                changes = None if self._stamp is None else await self._catalog.changes_since(self._stamp)
                if changes is None:
                    await self._read_all(stamp)
                else:
                    await self._read_changes(changes)
            self._link = link
            self.refreshed_at = time.monotonic()

    @property
    def version(self) -> int:
        """Number of the last change of the catalogue that is known."""
        return self._number

    async def _read_changes(self, changes: Changes) -> None:
        number = number_of(changes.stamp)
        for start in range(0, len(changes.feature_ids), FEATURES_PER_READ):
            for feature in await self._catalog.usable_features(changes.feature_ids[start : start + FEATURES_PER_READ]):
                self._keep(feature, number, self._history)
        self._set_stamp(changes.stamp)

    async def _read_all(self, stamp: bytes) -> None:
        """Read all features, a few at a time. The next refresh reads concurrent changes."""
        await self._store.require_data()
        # Of a catalogue in which this process knows nothing, that is what it does anyway.
        if self._stamp is not None and (self.features or self._number):
            log.info("reading the whole catalogue: the changes since the last read are unknown", stamp=stamp.decode())
        # Reads that started before are obsolete, and must not prevent newer ones from being kept.
        self._history += 1
        self._stamp, self._number = None, 0
        self._ahead.clear()
        self.packages = PublishedPackages()
        found: dict[str, Feature] = {}
        last = ""
        while ids := await self._catalog.feature_ids(last, IDS_PER_READ):
            for start in range(0, len(ids), FEATURES_PER_READ):
                for feature in await self._catalog.usable_features(ids[start : start + FEATURES_PER_READ]):
                    known = self.features.get(feature.id)
                    # Lanes treat another object as a changed feature.
                    found[feature.id] = known if known == feature else feature
            last = ids[-1].decode()
        newer = {name: self.features[name] for name, number in self._ahead.items() if number > number_of(stamp)}
        self.features = found | newer
        self._set_stamp(stamp)

    def _set_stamp(self, stamp: bytes) -> None:
        self._stamp, self._number = stamp, number_of(stamp)
        self._ahead = {name: number for name, number in self._ahead.items() if number > self._number}

    def _keep(self, feature: Feature, number: int, history: int) -> bool:
        """Keep a feature that was read or written at a catalogue number; return False if a newer one is known."""
        known = self.features.get(feature.id)
        late = number < self._number if known is None else number <= self._ahead.get(feature.id, self._number)
        if late or history != self._history:
            return False
        if known is None or known != feature:
            self.features[feature.id] = feature
        if number > self._number:
            self._ahead[feature.id] = number
        return True

    async def find_feature(self, feature_id: str) -> Feature | None:
        """Return a feature from memory, or else from the store: another server may just have created it."""
        while (feature := self.features.get(feature_id)) is None:
            history = self._history
            found = await self._catalog.usable_feature(feature_id)
            if found is None:
                await self._store.require_data()
                return None
            if not self._keep(*found, history):
                await self.refresh()
        return feature

    async def stored_feature(self, feature_id: str) -> Stored[Feature] | None:
        """Return a feature for an update, or None; raise UnreadableError."""
        history = self._history
        stored = await self._catalog.stored_feature(feature_id)
        if stored is not None:
            self._keep(usable(stored.item), stored.number, history)
        return stored

    async def put_feature(self, old: Stored[Feature] | None, new: Feature) -> None:
        """Create or replace a feature as CatalogStore does, and keep it in memory unless it has changed again."""
        history = self._history
        number = await self._catalog.put_feature(old, new)
        self._keep(usable(new), number, history)

    async def apply(self, snapshots: CatalogSnapshots, write: CatalogWrite) -> bytes:
        """Write many items at once as CatalogSnapshots does, and keep the features in memory as `put_feature` does."""
        history = self._history
        stamp = await snapshots.apply(write)
        for feature in write.features:
            self._keep(usable(feature), number_of(stamp), history)
        return stamp

    async def load_packages(self, requested: Iterable[tuple[str, int]]) -> None:
        """Load published versions of packages, pairs of id and version, and the features that they list."""
        if self._link != self._store.link(self._keys.catalog_version):
            # Another server may have taken over, or the same one may have lost recent data.
            await self.refresh()
        versions = list(requested)
        while missing := [version for version in versions if version not in self.packages]:
            packages = self.packages
            for package in await self._catalog.package_versions(missing):
                for entry in package.features:
                    await self.find_feature(entry.feature_id)
                packages[package.id, package.version] = package
            if packages is self.packages:
                break

    async def packages_by_feature(self) -> Mapping[str, list[str]]:
        """Return, by feature id, the ids of the packages that give it to new subscribers, in order.

        All packages are read after each change of the catalogue.
        """
        stamp = await self._catalog.stamp()
        if self._packages_by_feature is None or self._packages_by_feature[0] != stamp:
            found: dict[str, list[str]] = {}
            for package in await self._available_packages():
                for entry in package.features:
                    found.setdefault(entry.feature_id, []).append(package.id)
            self._packages_by_feature = stamp, found
        return self._packages_by_feature[1]

    async def _available_packages(self) -> list[Package]:
        """Return the packages that can be subscribed to, each in the version that new subscriptions get, by id."""
        found, last = list[Package](), ""
        while page := await self._catalog.package_page(last, PACKAGES_PER_READ):
            last = page[-1].id
            published = [
                (package.id, package.published_version)
                for package in page
                if package.is_known and package.published_version and package.status != PackageStatus.ARCHIVED
            ]
            await self.load_packages(published)
            found += [package for version in published if (package := self.packages.get(version)) is not None]
        return found

    def keep_fresh(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return tasks that refresh the cache: one polls the stamp each second, one listens for changes."""
        return keep_fresh(self._store, self._keys.catalog_channel, self.refresh, POLL_INTERVAL_SECONDS, "the catalogue")
