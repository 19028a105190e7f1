"""Validation of features and packages."""

from collections.abc import Iterable, Sequence

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.api.bounds import MAX_PACKAGE_FEATURES
from canuse_server.api.enums import name_of
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, ErrorReason, feature_not_found, invalid
from canuse_server.api.validation import Violations, repeated
from canuse_server.domain.model import Feature, FeatureType, OnUnavailable, PackageFeature, PackageType, ResetPeriod


def check_feature(feature: pb.Feature, *, created: bool) -> None:
    """Check a feature; raise ApiError. A `created` feature needs a type."""
    violations = Violations()
    add_feature_violations(violations, "feature", feature, created=created)
    violations.check()


def add_feature_violations(violations: Violations, path: str, feature: pb.Feature, *, created: bool) -> None:
    """Add what is invalid in a feature; `path` is that of the feature in the request."""
    violations.id(f"{path}.id", feature.id)
    if created and feature.type not in frozenset[int](FeatureType):
        accepted = "must be FEATURE_TYPE_BINARY or FEATURE_TYPE_CONSUMABLE"
        violations.add(f"{path}.type", f"{accepted}; {feature.type} was sent")
    if feature.on_unavailable and feature.on_unavailable not in frozenset[int](OnUnavailable):
        accepted = ", ".join(f"ON_UNAVAILABLE_{choice.name}" for choice in OnUnavailable)
        violations.add(f"{path}.on_unavailable", f"must be one of {accepted}; {feature.on_unavailable} was sent")
    for name in ("name", "unit_label", "unit_label_plural"):
        violations.text(f"{path}.{name}", getattr(feature, name))
    violations.metadata(f"{path}.metadata", feature.metadata)


def check_package(package: pb.Package) -> None:
    """Check a package without its features' types; raise ApiError."""
    violations = Violations()
    add_package_violations(violations, "package", package)
    violations.check()


def add_package_violations(violations: Violations, path: str, package: pb.Package) -> None:
    """Add what is invalid in a package, without its features' types; `path` is that of the package in the request."""
    violations.id(f"{path}.id", package.id)
    violations.text(f"{path}.name", package.name)
    violations.metadata(f"{path}.metadata", package.metadata)
    if package.type and package.type not in frozenset[int](PackageType):
        accepted = "must be PACKAGE_TYPE_BASE or PACKAGE_TYPE_ADD_ON"
        violations.add(f"{path}.type", f"{accepted}; {package.type} was sent")
    ids = [entry.feature_id for entry in package.features]
    if len(set(ids)) != len(ids):
        accepted = f"must be at most {MAX_PACKAGE_FEATURES} features, each once"
        violations.add(f"{path}.features", f"{accepted}; {len(ids)} were sent{repeated(ids)}")
    for index, entry in enumerate(package.features):
        field = f"{path}.features[{index}]"
        violations.id(f"{field}.feature_id", entry.feature_id)
        violations.amount(f"{field}.limit", entry.limit, 0)
        if entry.reset_period and entry.reset_period not in frozenset[int](ResetPeriod):
            accepted = ", ".join(period.name for period in ResetPeriod)
            violations.add(f"{field}.reset_period", f"must be one of {accepted}; {entry.reset_period} was sent")


async def package_features(env: Environment, entries: Iterable[pb.PackageFeature]) -> tuple[PackageFeature, ...]:
    """Return the features of a package; raise ApiError for unknown or archived ones and limits of binary ones."""
    return tuple(
        [
            package_feature(f"package.features[{index}]", entry, await env.cache.find_feature(entry.feature_id))
            for index, entry in enumerate(entries)
        ]
    )


def package_feature(
    path: str, entry: pb.PackageFeature, feature: Feature | None, *, may_be_archived: bool = False
) -> PackageFeature:
    """Return an entry of a package; raise ApiError for an unknown or archived feature and limits of a binary one."""
    if feature is None:
        raise feature_not_found(entry.feature_id)
    if not feature.is_known:
        text = f"must not be {feature.id!r}: its type is {name_of(feature.type)}"
        raise invalid([(f"{path}.feature_id", text)])
    if feature.archived and not may_be_archived:
        ids = {"feature_id": feature.id}
        raise ApiError(ErrorReason.FEATURE_ARCHIVED, f"feature {feature.id!r} is archived", ids)
    if feature.type == FeatureType.BINARY and (invalid_fields := _counting_fields(entry)):
        text = f"must not be given for the binary feature {feature.id!r}: its use is not counted"
        raise invalid([(f"{path}.{name}", text) for name in invalid_fields])
    return PackageFeature(
        feature_id=feature.id,
        limit=entry.limit if entry.HasField("limit") else None,
        reset_period=ResetPeriod(entry.reset_period or ResetPeriod.NEVER),
        overage_enabled=entry.overage_enabled,
    )


def _counting_fields(entry: pb.PackageFeature) -> Sequence[str]:
    given = {
        "limit": entry.HasField("limit"),
        "reset_period": entry.reset_period not in (pb.RESET_PERIOD_UNSPECIFIED, pb.RESET_PERIOD_NEVER),
        "overage_enabled": entry.overage_enabled,
    }
    return [name for name, is_given in given.items() if is_given]
