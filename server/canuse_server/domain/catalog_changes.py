"""What has to change so that a catalogue is as a document says: the new items, and the changes by name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, NamedTuple

from canuse_server.domain.model import Feature, Package, PackageFeature, PackageStatus

FEATURE_FIELDS: Final = ("name", "unit_label", "unit_label_plural", "on_unavailable")
ENTRY_FIELDS: Final = ("limit", "reset_period", "overage_enabled")


class CatalogAction(IntEnum):
    """The kind of a change."""

    CREATE = 1
    UPDATE = 2
    PUBLISH = 3
    ARCHIVE = 4
    DISCARD_DRAFT = 5


class FieldChange(NamedTuple):
    """A changed field; values are texts for people, empty if not set."""

    field: str
    old: str
    new: str


class Change(NamedTuple):
    """A change of a feature or package; `version` is that of the package, 0 if the change is about none."""

    action: CatalogAction
    version: int = 0
    fields: tuple[FieldChange, ...] = ()


class StoredPackage(NamedTuple):
    """A package as stored: its latest version, and the published one, None if none is published."""

    latest: Package
    published: Package | None

    @property
    def draft(self) -> Package | None:
        """The draft, or None if the latest version is published or archived."""
        return self.latest if self.latest.status == PackageStatus.DRAFT else None


@dataclass(frozen=True, slots=True)
class RequestedPackage:
    """What a document says about a package: the content of the published version and of the draft, None if it has none.

    Of `published` and `draft` only the content counts: name, type, entries and metadata.
    """

    published: Package | None = None
    draft: Package | None = None
    archived: bool = False

    def contents(self) -> Iterator[Package]:
        """Yield the requested contents."""
        yield from (content for content in (self.published, self.draft) if content is not None)


class PackageWrite(NamedTuple):
    """The new latest version of a package, and the newly published version, None if none is published."""

    latest: Package
    published: Package | None = None


def feature_changes(old: Feature | None, requested: Feature) -> tuple[Feature | None, list[Change]]:
    """Return the feature to write, None if nothing changes, and its changes. An archived one is not created."""
    if old is None:
        return (None, []) if requested.archived else (requested, [Change(CatalogAction.CREATE)])
    changed = {name: getattr(requested, name) for name in (*FEATURE_FIELDS, "metadata", "archived")}
    new = replace(old, **changed)
    changes = []
    if fields := (*_fields(old, new, FEATURE_FIELDS), *_metadata(old.metadata, new.metadata)):
        changes.append(Change(CatalogAction.UPDATE, fields=fields))
    if new.archived and not old.archived:
        changes.append(Change(CatalogAction.ARCHIVE))
    return (new, changes) if changes else (None, [])


def package_changes(old: StoredPackage | None, requested: RequestedPackage) -> tuple[PackageWrite | None, list[Change]]:
    """Return what to write of a package, None if nothing changes, and its changes.

    A stored package that is archived must be requested as archived.
    """
    if requested.archived:
        if old is None or old.latest.status == PackageStatus.ARCHIVED:
            return None, []
        return PackageWrite(replace(old.latest, status=PackageStatus.ARCHIVED)), [Change(CatalogAction.ARCHIVE)]
    published, changes = _publication(old, requested)
    latest, draft_changes = _draft(old, requested, published)
    changes += draft_changes
    if latest is None or not changes:
        return None, []
    return PackageWrite(latest, published if old is None or published != old.published else None), changes


def same_content(one: Package, other: Package) -> bool:
    """Whether two versions have the same content; the order of entries does not matter."""
    return (one.name, one.type, one.metadata) == (other.name, other.type, other.metadata) and _entries(one) == _entries(
        other
    )


def _publication(old: StoredPackage | None, requested: RequestedPackage) -> tuple[Package | None, list[Change]]:
    """Return the version that is published afterwards, and the changes that lead to it."""
    published = None if old is None else old.published
    content = requested.published
    if content is None or (published is not None and same_content(published, content)):
        return published, []
    version = 1 if published is None else published.version + 1
    draft = None if old is None or requested.draft is not None else old.draft
    base = draft or published or (None if old is None else old.latest)
    new = _version_of(base, content, version, PackageStatus.PUBLISHED, published_version=version)
    return new, [*_edit(base, new), Change(CatalogAction.PUBLISH, version)]


def _draft(
    old: StoredPackage | None, requested: RequestedPackage, published: Package | None
) -> tuple[Package | None, list[Change]]:
    """Return the latest version afterwards, and the changes of the draft that lead to it."""
    draft, content = None if old is None else old.draft, requested.draft
    if content is None:
        is_left = old is not None and draft is not None and published is not None and published == old.published
        discarded = [Change(CatalogAction.DISCARD_DRAFT, draft.version)] if is_left and draft is not None else []
        return published, discarded
    if draft is None and requested.published is None and published is not None and same_content(published, content):
        return published, []
    number = 0 if published is None else published.version
    base = draft or published
    new = _version_of(base, content, number + 1, PackageStatus.DRAFT, published_version=number)
    if draft is not None and same_content(draft, new) and draft.version == new.version:
        return draft, []
    return new, _edit(base, new, always=True)


def _version_of(
    base: Package | None, content: Package, version: int, status: PackageStatus, *, published_version: int
) -> Package:
    """Return a version with a content; from `base` it has what the document does not say."""
    known = {} if base is None else _entries(base)
    # An entry that stays the same keeps fields that only a newer version of canuse knows.
    entries = [entry if (kept := known.get(entry.feature_id)) != entry else kept for entry in content.features]
    return replace(
        content if base is None else base,
        name=content.name,
        type=content.type,
        features=tuple(entries),
        metadata=content.metadata,
        status=status,
        version=version,
        published_version=published_version,
    )


def _edit(base: Package | None, new: Package, *, always: bool = False) -> list[Change]:
    """Return the change from a version to the next one; `always`: also if only the number changes."""
    if base is None:
        return [Change(CatalogAction.CREATE, new.version)]
    fields = (
        *_fields(base, new, ("name", "type")),
        *_entry_changes(base, new),
        *_metadata(base.metadata, new.metadata),
    )
    return [Change(CatalogAction.UPDATE, new.version, fields)] if fields or always else []


def _entries(package: Package) -> dict[str, PackageFeature]:
    return {entry.feature_id: entry for entry in package.features}


def _entry_changes(old: Package, new: Package) -> Iterator[FieldChange]:
    before, after = _entries(old), _entries(new)
    for feature_id in dict.fromkeys((*before, *after)):
        path, one, other = f"features[{feature_id}]", before.get(feature_id), after.get(feature_id)
        if one is None or other is None:
            yield FieldChange(path, _entry_text(one), _entry_text(other))
        else:
            yield from _fields(one, other, ENTRY_FIELDS, f"{path}.")


def _entry_text(entry: PackageFeature | None) -> str:
    """Return an entry in one line; empty without one."""
    if entry is None:
        return ""
    limit = "included, no limit" if entry.limit is None else f"limit {entry.limit}"
    reset = _text(entry.reset_period)
    return f"{limit}, reset_period {reset}{', overage_enabled' if entry.overage_enabled else ''}"


def _metadata(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[FieldChange]:
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield FieldChange(f"metadata[{key}]", old.get(key, ""), new.get(key, ""))


def _fields(old: object, new: object, names: tuple[str, ...], prefix: str = "") -> Iterator[FieldChange]:
    for name in names:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield FieldChange(prefix + name, _text(before), _text(after))


def _text(value: object) -> str:
    """Return a value for people."""
    if value is None:
        return ""
    if isinstance(value, IntEnum):
        return value.name.lower()
    return str(value).lower() if isinstance(value, bool) else str(value)
