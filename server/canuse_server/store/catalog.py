"""The catalogue: features and packages, one value each in a hash, with an index by id. Changes raise its version."""

from collections.abc import Iterable
from typing import cast

from canuse_server.domain.model import Feature, Package, PackageStatus
from canuse_server.store.client import Store
from canuse_server.store.codec import decode_feature, decode_package, encode
from canuse_server.store.errors import ConflictError
from canuse_server.store.keys import Keys
from canuse_server.store.lua import PUT_CATALOG
from canuse_server.store.pacing import each


class CatalogStore:
    """The catalogue of one environment."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def version(self) -> int:
        """Return the number that every change of the catalogue raises."""
        (value,), _ = await self._store.call(("GET", self._keys.catalog_version))
        return int(cast("bytes", value)) if value else 0

    async def feature(self, feature_id: str) -> Feature | None:
        """Return a feature, or None."""
        (value,), _ = await self._store.call(("HGET", self._keys.features, feature_id))
        return decode_feature(cast("bytes", value)) if value else None

    async def features(self) -> list[Feature]:
        """Return all features."""
        (values,), _ = await self._store.call(("HVALS", self._keys.features))
        return [decode_feature(value) for value in cast("list[bytes]", values)]

    async def package(self, package_id: str) -> Package | None:
        """Return a package, or None."""
        (value,), _ = await self._store.call(("HGET", self._keys.packages, package_id))
        return decode_package(cast("bytes", value)) if value else None

    async def package_versions(self, wanted: Iterable[tuple[str, int]]) -> list[Package]:
        """Return published versions of packages by id and version, those of them that there are."""
        fields = [self._keys.package_version(package_id, version) for package_id, version in wanted]
        (values,), _ = await self._store.call(("HMGET", self._keys.package_versions, *fields))
        return [decode_package(value) for value in cast("list[bytes | None]", values) if value]

    async def feature_page(self, after: str, size: int) -> list[Feature]:
        """Return the features whose ids follow one, by id."""
        values = await self._page(self._keys.features, self._keys.feature_ids, after, size)
        return await each(values, decode_feature)

    async def package_page(self, after: str, size: int) -> list[Package]:
        """Return the packages whose ids follow one, by id."""
        values = await self._page(self._keys.packages, self._keys.package_ids, after, size)
        return await each(values, decode_package)

    async def _page(self, items: str, index: str, after: str, size: int) -> list[bytes]:
        start = f"({after}" if after else "-"
        (ids,), _ = await self._store.call(("ZRANGEBYLEX", index, start, "+", "LIMIT", "0", str(size)))
        if not ids:
            return []
        (values,), _ = await self._store.call(("HMGET", items, *cast("list[bytes]", ids)))
        return cast("list[bytes]", values)

    async def put_feature(self, old: Feature | None, new: Feature) -> None:
        """Create a feature (`old` None) or replace it; raises ConflictError where it is not as `old` any more."""
        await self._put(self._keys.features, self._keys.feature_ids, old, new, "")

    async def put_package(self, old: Package | None, new: Package) -> None:
        """Create a package (`old` None) or replace it; raises ConflictError where it is not as `old` any more.

        What is published is also kept by its version, for those who subscribe to it.
        """
        published = new.status == PackageStatus.PUBLISHED
        version = self._keys.package_version(new.id, new.version) if published else ""
        await self._put(self._keys.packages, self._keys.package_ids, old, new, version)

    async def _put(
        self, items: str, index: str, old: Feature | Package | None, new: Feature | Package, version: str
    ) -> None:
        keys = [items, index, self._keys.catalog_version, self._keys.package_versions]
        before = b"" if old is None else encode(old)
        channel = self._keys.catalog_channel
        if not await self._store.run(PUT_CATALOG, keys, new.id, before, encode(new), version, channel, new.id):
            raise ConflictError
