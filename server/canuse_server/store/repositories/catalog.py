"""The catalogue: hashes of features and packages with an index by id, and a log of changes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, Generic, NamedTuple, TypeVar, cast

from canuse_server.domain.model import Feature, Package, PackageStatus
from canuse_server.runtime.fairness import map_yielding
from canuse_server.store.codec.audit_pb2 import AuditEntry
from canuse_server.store.codec.documents import UnreadableError, decode_feature, decode_package, encode, note_unreadable
from canuse_server.store.errors import ConflictError
from canuse_server.store.keys import Keys
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.audit.writing import AuditWriter, changed_fields
from canuse_server.store.repositories.stamps import number_of, random_part
from canuse_server.store.scripts.loader import PUT_CATALOG

CHANGES_KEPT: Final = 1000
"""Minimum length of the log of changes. A server that is further behind reads the whole catalogue."""
UNKNOWN: Final = 0
"""The type or status of an unreadable document."""

_Item = TypeVar("_Item", Feature, Package)


class Stored(NamedTuple, Generic[_Item]):
    """An item as stored, and a catalogue number up to which it is current."""

    item: _Item
    raw: bytes
    number: int


class Changes(NamedTuple):
    """The features that changed up to a stamp."""

    stamp: bytes
    feature_ids: list[str]


class CatalogStore:
    """The catalogue of one environment. An unreadable document is treated as an unknown one, which gives no access."""

    def __init__(self, store: Store, keys: Keys, audit: AuditWriter) -> None:
        self._store = store
        self._keys = keys
        self._audit = audit

    async def stamp(self) -> bytes:
        """Return the stamp that every change of the catalogue replaces; empty before the first change."""
        (value,), _ = await self._store.call(("GET", self._keys.catalog_version))
        return cast("bytes | None", value) or b""

    async def changes_since(self, stamp: bytes) -> Changes | None:
        """Return the changes since `stamp`, or None if the log does not tell.

        That is the case if the log does not go back to the stamp, if it does not belong to the current catalogue, or
        if the stamp comes from another history of the store.
        """
        if not number_of(stamp):
            return None
        keys = self._keys
        (reply, now), _ = await self._store.call(
            ("XRANGE", keys.catalog_changes, stamp, "+"), ("GET", keys.catalog_version)
        )
        entries = cast("list[tuple[bytes, list[bytes]]]", reply)
        if not entries or entries[0][0] != stamp or entries[-1][0] != now:
            return None
        changed = [fields[1].decode() for _, fields in entries[1:] if fields[0] == b"feature"]
        return Changes(entries[-1][0], list(dict.fromkeys(changed)))

    async def feature(self, feature_id: str) -> Feature | None:
        """Return a feature, or None."""
        value, _ = await self._value(self._keys.features, feature_id)
        return None if value is None else _feature(feature_id, value)

    async def usable_feature(self, feature_id: str) -> tuple[Feature, int] | None:
        """Return a feature for use by calls, and a catalogue number up to which it is current; or None."""
        value, number = await self._value(self._keys.features, feature_id)
        return None if value is None else (usable(_feature(feature_id, value)), number)

    async def usable_features(self, feature_ids: Sequence[str | bytes]) -> list[Feature]:
        """Return those of some features that exist, for use by calls."""
        (values,), _ = await self._store.call(("HMGET", self._keys.features, *feature_ids))
        pairs = zip(feature_ids, cast("list[bytes | None]", values), strict=True)
        return [usable(_feature(_text(feature_id), value)) for feature_id, value in pairs if value is not None]

    async def stored_feature(self, feature_id: str) -> Stored[Feature] | None:
        """Return a feature for an update, or None; raise UnreadableError."""
        return await self._stored(self._keys.features, feature_id, decode_feature)

    async def feature_ids(self, after: str, size: int) -> list[bytes]:
        """Return up to `size` feature ids after `after`, in order."""
        return await self._ids(self._keys.feature_ids, after, size)

    async def package(self, package_id: str) -> Package | None:
        """Return a package, or None."""
        value, _ = await self._value(self._keys.packages, package_id)
        return None if value is None else _package(package_id, value)

    async def stored_package(self, package_id: str) -> Stored[Package] | None:
        """Return a package for an update, or None; raise UnreadableError."""
        return await self._stored(self._keys.packages, package_id, decode_package)

    async def package_versions(self, requested: Iterable[tuple[str, int]]) -> list[Package]:
        """Return those of the requested versions, pairs of id and version, that exist and are readable."""
        versions = list(requested)
        fields = [self._keys.package_version(package_id, version) for package_id, version in versions]
        (values,), _ = await self._store.call(("HMGET", self._keys.package_versions, *fields))
        found = []
        for (package_id, _), value in zip(versions, cast("list[bytes | None]", values), strict=True):
            try:
                if value:
                    found.append(decode_package(value))
            except UnreadableError as error:
                note_unreadable("package", package_id, error)
        return found

    async def feature_page(self, after: str, size: int) -> list[Feature]:
        """Return up to `size` features after the id `after`, by id."""
        ids, values = await self._page(self._keys.features, self._keys.feature_ids, after, size)
        return await map_yielding(zip(ids, values, strict=True), lambda pair: _feature(pair[0], pair[1]))

    async def package_page(self, after: str, size: int) -> list[Package]:
        """Return up to `size` packages after the id `after`, by id."""
        ids, values = await self._page(self._keys.packages, self._keys.package_ids, after, size)
        return await map_yielding(zip(ids, values, strict=True), lambda pair: _package(pair[0], pair[1]))

    async def _page(self, items: str, index: str, after: str, size: int) -> tuple[list[str], list[bytes]]:
        ids = await self._ids(index, after, size)
        if not ids:
            return [], []
        (values,), _ = await self._store.call(("HMGET", items, *ids))
        return [item_id.decode() for item_id in ids], cast("list[bytes]", values)

    async def _ids(self, index: str, after: str, size: int) -> list[bytes]:
        start = f"({after}" if after else "-"
        (ids,), _ = await self._store.call(("ZRANGEBYLEX", index, start, "+", "LIMIT", "0", str(size)))
        return cast("list[bytes]", ids)

    async def _stored(self, items: str, item_id: str, decode: Callable[[bytes], _Item]) -> Stored[_Item] | None:
        value, number = await self._value(items, item_id)
        return None if value is None else Stored(decode(value), value, number)

    async def _value(self, items: str, item_id: str) -> tuple[bytes | None, int]:
        # The stamp is read first, so that the value is at least as new.
        (stamp, value), _ = await self._store.call(("GET", self._keys.catalog_version), ("HGET", items, item_id))
        return cast("bytes | None", value), number_of(cast("bytes | None", stamp) or b"")

    async def put_feature(self, old: Stored[Feature] | None, new: Feature) -> int:
        """Create a feature (`old` None) or replace it; return the catalogue number of the change.

        Raises:
            ConflictError: the stored feature differs from `old`.
        """
        return await self._put(self._keys.features, self._keys.feature_ids, old, new, "feature")

    async def put_package(self, old: Stored[Package] | None, new: Package) -> int:
        """Create a package (`old` None) or replace it, as `put_feature` does.

        A published package is also stored by its version, for subscriptions.
        """
        published = new.status == PackageStatus.PUBLISHED
        version = self._keys.package_version(new.id, new.version) if published else ""
        return await self._put(self._keys.packages, self._keys.package_ids, old, new, "package", version)

    async def _put(
        self, items: str, index: str, old: Stored[_Item] | None, new: Feature | Package, kind: str, version: str = ""
    ) -> int:
        if old is None:
            await self._store.require_data()
        keys = self._keys
        names = [items, index, keys.catalog_version, keys.package_versions, keys.catalog_changes, keys.catalog_audit]
        before = b"" if old is None else old.raw
        change = (new.id, before, encode(new), version, keys.catalog_channel, random_part(), kind, str(CHANGES_KEPT))
        audit = AuditEntry(fields=() if old is None else changed_fields(old.item, new))
        (audit.feature_ids if isinstance(new, Feature) else audit.package_ids).append(new.id)
        stamp = cast("bytes", await self._store.run(PUT_CATALOG, names, *change, *self._audit.arguments(audit)))
        if not stamp:
            raise ConflictError
        self._audit.note(audit)
        return number_of(stamp)


def usable(feature: Feature) -> Feature:
    """Return a feature for use by calls: one of a type that this version of canuse does not know is archived."""
    return feature if feature.is_known else replace(feature, archived=True)


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode()


def _feature(feature_id: str, value: bytes) -> Feature:
    try:
        return decode_feature(value)
    except UnreadableError as error:
        note_unreadable("feature", feature_id, error)
        return Feature(feature_id, UNKNOWN, 0)


def _package(package_id: str, value: bytes) -> Package:
    try:
        return decode_package(value)
    except UnreadableError as error:
        note_unreadable("package", package_id, error)
        return Package(package_id, 0, type=UNKNOWN, status=UNKNOWN)
