"""The catalogue as a whole: read at one moment, and changed in many places at once."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, cast

from canuse_server.domain.catalog_changes import PackageWrite, StoredPackage
from canuse_server.domain.model import Feature, Package, PackageStatus
from canuse_server.runtime.fairness import WorkShare
from canuse_server.store.codec.audit_pb2 import AuditEntry
from canuse_server.store.codec.documents import decode_feature, decode_package, encode
from canuse_server.store.errors import ConflictError, StoreUnavailableError
from canuse_server.store.keys import Keys
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.audit.writing import AuditWriter
from canuse_server.store.repositories.catalog import CHANGES_KEPT
from canuse_server.store.repositories.stamps import random_part
from canuse_server.store.scripts.loader import APPLY_CATALOG

ITEMS_AT_A_TIME: Final = 200
"""Number of items read in one round trip."""
IDS_AT_A_TIME: Final = 1000


class Snapshot(NamedTuple):
    """Items of the catalogue by id, all as they were at the moment of the stamp; those that do not exist are not in it.

    The stamp is empty before the first change.
    """

    stamp: bytes
    features: dict[str, Feature]
    packages: dict[str, StoredPackage]


class CatalogWrite(NamedTuple):
    """Items to write, if the stamp is still that of the catalogue."""

    stamp: bytes
    features: Sequence[Feature]
    packages: Sequence[PackageWrite]


class CatalogSnapshots:
    """Reads and writes many items of the catalogue of one environment at once."""

    def __init__(self, store: Store, keys: Keys, audit: AuditWriter) -> None:
        self._store = store
        self._keys = keys
        self._audit = audit

    async def read(self, feature_ids: Iterable[str], package_ids: Iterable[str], *, rest: bool) -> Snapshot:
        """Return these items; `rest`: and all others.

        Raises:
            ConflictError: the catalogue was changed during the read.
            UnreadableError: one of the items is unreadable.
        """
        keys, stamp = self._keys, await self._stamp()
        features, packages = dict.fromkeys(feature_ids), dict.fromkeys(package_ids)
        if rest:
            features |= dict.fromkeys(await self._ids(keys.feature_ids))
            packages |= dict.fromkeys(await self._ids(keys.package_ids))
        share = WorkShare()
        found_features, latest = {}, []
        for feature_id, value in await self._values(keys.features, list(features)):
            found_features[feature_id] = decode_feature(value)
            await share.pause_if_due()
        for _, value in await self._values(keys.packages, list(packages)):
            latest.append(decode_package(value))
            await share.pause_if_due()
        found_packages = await self._with_published(latest)
        if await self._stamp() != stamp:
            raise ConflictError
        return Snapshot(stamp, found_features, found_packages)

    async def apply(self, write: CatalogWrite) -> bytes:
        """Write all items or none; return the new stamp.

        Raises:
            ConflictError: the catalogue has changed since the stamp; nothing was written.
        """
        await self._store.require_data()
        keys = self._keys
        names = [keys.catalog_version, keys.catalog_changes, keys.features, keys.feature_ids]
        names += [keys.packages, keys.package_ids, keys.package_versions, keys.catalog_audit]
        items: list[str | bytes] = []
        for feature in write.features:
            items += (feature.id, encode(feature))
        for latest, published in write.packages:
            items += (latest.id, encode(latest))
            version = published and keys.package_version(published.id, published.version)
            items += (version or "", encode(published) if published else "")
        audit = AuditEntry(
            feature_ids=[feature.id for feature in write.features],
            package_ids=[package.latest.id for package in write.packages],
        )
        reply = await self._store.run(
            *(APPLY_CATALOG, names, write.stamp, keys.catalog_channel, random_part(), str(CHANGES_KEPT)),
            *(*self._audit.arguments(audit), str(len(write.features)), *items),
        )
        if not reply:
            raise ConflictError
        self._audit.note(audit)
        return cast("bytes", reply)

    async def _with_published(self, latest: Iterable[Package]) -> dict[str, StoredPackage]:
        """Return packages with their published versions."""
        found, apart = {}, {}
        for package in latest:
            is_published = package.status == PackageStatus.PUBLISHED
            found[package.id] = StoredPackage(package, package if is_published else None)
            if package.published_version and not is_published:
                apart[self._keys.package_version(package.id, package.published_version)] = package.id
        share = WorkShare()
        for field, value in await self._values(self._keys.package_versions, list(apart)):
            package_id = apart.pop(field)
            found[package_id] = found[package_id]._replace(published=decode_package(value))
            await share.pause_if_due()
        if apart:
            # Published again under the same number, it would be another version to its subscribers.
            raise StoreUnavailableError(f"published versions of packages are not in the store: {sorted(apart)[:3]}")
        return found

    async def _stamp(self) -> bytes:
        (value,), _ = await self._store.call(("GET", self._keys.catalog_version))
        return cast("bytes | None", value) or b""

    async def _ids(self, index: str) -> list[str]:
        ids: list[str] = []
        while True:
            start = f"({ids[-1]}" if ids else "-"
            (page,), _ = await self._store.call(("ZRANGEBYLEX", index, start, "+", "LIMIT", "0", str(IDS_AT_A_TIME)))
            if not page:
                return ids
            ids += [item_id.decode() for item_id in cast("list[bytes]", page)]

    async def _values(self, items: str, fields: Sequence[str]) -> list[tuple[str, bytes]]:
        """Return those of the fields of a hash that exist, with their values."""
        found: list[tuple[str, bytes]] = []
        for some in (fields[at : at + ITEMS_AT_A_TIME] for at in range(0, len(fields), ITEMS_AT_A_TIME)):
            (values,), _ = await self._store.call(("HMGET", items, *some))
            pairs = zip(some, cast("list[bytes | None]", values), strict=True)
            found += [(field, value) for field, value in pairs if value is not None]
        return found
