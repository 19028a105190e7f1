"""A catalogue as one document: its validation, and what it changes in the catalogue as stored."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.api.bounds import MAX_CATALOG_ENTRIES
from canuse_server.api.enums import name_of
from canuse_server.api.errors import ApiError, ErrorReason, invalid
from canuse_server.api.services.catalog_service.input import (
    add_feature_violations,
    add_package_violations,
    package_feature,
)
from canuse_server.api.validation import Violations, shown
from canuse_server.domain.catalog_changes import (
    Change,
    PackageWrite,
    RequestedPackage,
    StoredPackage,
    feature_changes,
    package_changes,
    same_content,
)
from canuse_server.domain.model import (
    Feature,
    FeatureType,
    OnUnavailable,
    Package,
    PackageFeature,
    PackageStatus,
    PackageType,
)
from canuse_server.runtime.fairness import WorkShare
from canuse_server.store.repositories.catalog_snapshot import Snapshot

STATUSES: Final = ("PACKAGE_STATUS_DRAFT", "PACKAGE_STATUS_PUBLISHED", "PACKAGE_STATUS_ARCHIVED")


class Plan(NamedTuple):
    """What a document changes: the items to write, and the changes by id, in order."""

    features: dict[str, Feature]
    packages: dict[str, PackageWrite]
    feature_changes: dict[str, list[Change]]
    package_changes: dict[str, list[Change]]
    known: Mapping[str, Feature]
    """The features of the catalogue after the changes, as far as the document needs them."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return not self.features and not self.packages


class Given(NamedTuple):
    """What a document says about one package: for each status the package and its path in the request."""

    published: tuple[str, pb.Package] | None = None
    draft: tuple[str, pb.Package] | None = None
    archived: tuple[str, pb.Package] | None = None

    def all(self) -> Iterator[tuple[str, pb.Package]]:
        """Yield the packages with their paths."""
        yield from (given for given in self if given is not None)

    @property
    def path(self) -> str:
        """The path of the first one."""
        return next(self.all())[0]


class Document(NamedTuple):
    """The content of a valid request, by id."""

    features: dict[str, tuple[str, pb.Feature]]
    packages: dict[str, Given]

    def feature_ids(self) -> Iterator[str]:
        """Yield the ids of all features that it names."""
        yield from self.features
        for given in self.packages.values():
            for _, package in given.all():
                yield from (entry.feature_id for entry in package.features)


async def read_document(request: pb.ApplyCatalogRequest) -> Document:
    """Return the content of a request; raise ApiError if a field is invalid, whatever the catalogue is."""
    violations, share = Violations(), WorkShare()
    features: dict[str, tuple[str, pb.Feature]] = {}
    for index, feature in enumerate(request.features):
        path = f"features[{index}]"
        add_feature_violations(violations, path, feature, created=True)
        if feature.id in features:
            violations.add(f"{path}.id", f"must be given once; {shown(feature.id)} was sent more than once")
        features[feature.id] = path, feature
        await share.pause_if_due()
    packages: dict[str, Given] = {}
    for index, package in enumerate(request.packages):
        path = f"packages[{index}]"
        add_package_violations(violations, path, package)
        packages[package.id] = _with(packages.get(package.id, Given()), path, package, violations)
        await share.pause_if_due()
    entries = sum(len(package.features) for package in request.packages)
    if entries > MAX_CATALOG_ENTRIES:
        violations.add("packages", f"must be at most {MAX_CATALOG_ENTRIES} entries in total; {entries} were sent")
    violations.check()
    return Document(features, packages)


def _with(given: Given, path: str, package: pb.Package, violations: Violations) -> Given:
    """Return what is said about a package with one more."""
    others = [other for _, other in given.all()]
    match package.status or pb.PACKAGE_STATUS_PUBLISHED:
        case pb.PACKAGE_STATUS_PUBLISHED:
            added = given._replace(published=(path, package))
        case pb.PACKAGE_STATUS_DRAFT:
            added = given._replace(draft=(path, package))
        case pb.PACKAGE_STATUS_ARCHIVED:
            added = given._replace(archived=(path, package))
        case unknown:
            violations.add(f"{path}.status", f"must be one of {', '.join(STATUSES)}; {unknown} was sent")
            return given
    if len([*added.all()]) == len(others) or (added.archived and others):
        accepted = "must be given once, or once as PUBLISHED and once as DRAFT"
        violations.add(f"{path}.id", f"{accepted}; {shown(package.id)} was sent more than once")
    elif any(_type(other) != _type(package) for other in others):
        violations.add(f"{path}.type", "must be the same for PUBLISHED and DRAFT; another one was sent")
    return added


def _type(package: pb.Package) -> int:
    """Return the type of a package. It may be invalid: all that is invalid in a document is listed together."""
    return package.type or PackageType.BASE


async def plan_of(document: Document, snapshot: Snapshot, now_ms: int, *, archive_missing: bool) -> Plan:
    """Return what a document changes; raise ApiError if the catalogue cannot be made so."""
    requested = {
        feature_id: _requested_feature(path, feature, snapshot.features.get(feature_id), now_ms)
        for feature_id, (path, feature) in document.features.items()
    }
    plan = Plan({}, {}, {}, {}, snapshot.features | requested)
    if archive_missing:
        missing = sorted(snapshot.features.keys() - requested.keys())
        requested |= {name: replace(snapshot.features[name], archived=True) for name in missing}
    for feature_id, feature in requested.items():
        new, changes = feature_changes(snapshot.features.get(feature_id), feature)
        if new is not None:
            plan.features[feature_id], plan.feature_changes[feature_id] = new, changes
    share = WorkShare()
    missing = sorted(snapshot.packages.keys() - document.packages.keys()) if archive_missing else []
    for package_id in (*document.packages, *missing):
        old, given = snapshot.packages.get(package_id), document.packages.get(package_id)
        wanted = RequestedPackage(archived=True) if given is None else _requested_package(given, old, plan, now_ms)
        write, changes = package_changes(old, wanted)
        if write is not None:
            plan.packages[package_id], plan.package_changes[package_id] = write, changes
        await share.pause_if_due()
    return plan


def _requested_feature(path: str, feature: pb.Feature, old: Feature | None, now_ms: int) -> Feature:
    if old is not None and feature.type != old.type:
        text = f"must stay {name_of(old.type)}: the type of a feature cannot change"
        raise invalid([(f"{path}.type", text)])
    if old is not None and old.archived and not feature.archived:
        text = f"feature {old.id!r} is archived, which cannot be undone"
        raise _naming_field(ApiError(ErrorReason.FEATURE_ARCHIVED, text, {"feature_id": old.id}), f"{path}.archived")
    return Feature(
        id=feature.id,
        type=FeatureType(feature.type),
        created_at_ms=now_ms,
        name=feature.name,
        unit_label=feature.unit_label,
        unit_label_plural=feature.unit_label_plural,
        metadata=dict(feature.metadata),
        archived=feature.archived,
        on_unavailable=OnUnavailable(feature.on_unavailable or OnUnavailable.DENY),
    )


def _requested_package(given: Given, old: StoredPackage | None, plan: Plan, now_ms: int) -> RequestedPackage:
    if given.archived is not None:
        return RequestedPackage(archived=True)
    if old is not None:
        _refuse_unchangeable(given, old.latest)
    return RequestedPackage(
        published=None if given.published is None else _content(*given.published, old, plan, now_ms),
        draft=None if given.draft is None else _content(*given.draft, old, plan, now_ms),
    )


def _refuse_unchangeable(given: Given, latest: Package) -> None:
    ids = {"package_id": latest.id}
    if latest.status == PackageStatus.ARCHIVED:
        error = ApiError(
            ErrorReason.PACKAGE_ARCHIVED, f"package {latest.id!r} is archived, which cannot be undone", ids
        )
        raise _naming_field(error, f"{given.path}.status")
    if not latest.is_known:
        raise invalid([(f"{given.path}.id", f"must not be {latest.id!r}: a newer version of canuse wrote it")])
    _, package = next(given.all())
    if latest.published_version and latest.type != _type(package):
        text = f"package {latest.id!r} was published as {name_of(latest.type)}; its type cannot change"
        raise _naming_field(ApiError(ErrorReason.PACKAGE_IMMUTABLE, text, ids), f"{given.path}.type")


def _content(path: str, package: pb.Package, old: StoredPackage | None, plan: Plan, now_ms: int) -> Package:
    """Return the requested content of a version; raise ApiError if it cannot be made."""

    def built(*, may_be_archived: bool) -> Package:
        return Package(
            id=package.id,
            created_at_ms=now_ms,
            name=package.name,
            type=PackageType(_type(package)),
            features=tuple(_entries(path, package, plan, may_be_archived=may_be_archived)),
            metadata=dict(package.metadata),
        )

    content = built(may_be_archived=True)
    stored = () if old is None else (old.latest, old.published)
    if any(version is not None and same_content(version, content) for version in stored):
        return content
    return built(may_be_archived=False)


def _entries(path: str, package: pb.Package, plan: Plan, *, may_be_archived: bool) -> Iterator[PackageFeature]:
    for index, entry in enumerate(package.features):
        entry_path, feature = f"{path}.features[{index}]", plan.known.get(entry.feature_id)
        try:
            yield package_feature(entry_path, entry, feature, may_be_archived=may_be_archived)
        except ApiError as error:
            if error.reason is ErrorReason.INVALID_FIELD:
                raise
            raise _naming_field(error, f"{entry_path}.feature_id") from None


def _naming_field(error: ApiError, field: str) -> ApiError:
    """Return an error with the path of the field that it is about, which only invalid fields have otherwise."""
    return ApiError(error.reason, error.message, {**error.metadata, "field": field})
