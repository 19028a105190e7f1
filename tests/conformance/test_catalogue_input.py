"""Validation of features and packages, and the fields that an update changes."""

from collections.abc import Callable
from typing import Any, cast

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import v1
from support.message_clients import Client
from support.resources import binary, consumable, unique
from support.wire import Stubs, failure

MAX_AMOUNT = 2**53 - 1
CONSUMABLE, BINARY = v1.FEATURE_TYPE_CONSUMABLE, v1.FEATURE_TYPE_BINARY
KEPT = {"name": "Ü" * 128, "unit_label": "call", "unit_label_plural": "c" * 256, "metadata": {"a": "b" * 2047}}


def test_a_feature_is_kept_as_it_was_sent(client: Client) -> None:
    feature_id = unique("feature")
    created = client.create_feature(feature_id, type=CONSUMABLE, **KEPT)  # type: ignore[arg-type]
    assert created == client.get_feature(feature_id)
    assert {name: getattr(created, name) for name in KEPT} == KEPT
    assert (created.type, created.archived, created.HasField("created_at")) == (CONSUMABLE, False, True)


def test_what_the_server_sets_is_not_taken_from_the_caller(stubs: Stubs) -> None:
    early = Timestamp(seconds=5)
    feature = v1.Feature(id=unique("feature"), type=BINARY, archived=True, created_at=early)
    created = stubs.catalog.CreateFeature(v1.CreateFeatureRequest(feature=feature)).feature
    assert (created.archived, created.created_at.seconds > 5) == (False, True)
    requested = v1.Package(id=unique("package"), status=v1.PACKAGE_STATUS_PUBLISHED, version=7, created_at=early)
    package = stubs.catalog.CreatePackage(v1.CreatePackageRequest(package=requested)).package
    assert (package.status, package.version) == (v1.PACKAGE_STATUS_DRAFT, 1)
    assert (package.type, package.created_at.seconds > 5) == (v1.PACKAGE_TYPE_BASE, True)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"type": 0}, "type"),
        ({"type": 3}, "type"),
        ({"name": "n" * 257}, "name"),
        ({"unit_label": "é" * 129}, "unit_label"),
        ({"unit_label_plural": "n" * 257}, "unit_label_plural"),
        ({"metadata": {f"{number}": "" for number in range(17)}}, "metadata"),
        ({"metadata": {"a": "b" * 2048}}, "metadata"),
    ],
)
def test_a_bad_feature_is_refused_by_field_and_not_made(stubs: Stubs, wrong: dict[str, Any], field: str) -> None:
    feature_id = unique("feature")
    request = v1.CreateFeatureRequest(feature=v1.Feature(**{"id": feature_id, "type": CONSUMABLE, **wrong}))
    refused = failure(stubs.catalog.CreateFeature, request)
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [f"feature.{field}"])
    assert "sent" in refused.violations[f"feature.{field}"]
    missing = failure(stubs.catalog.GetFeature, v1.GetFeatureRequest(feature_id=feature_id))
    assert (missing.reason, missing.metadata) == ("FEATURE_NOT_FOUND", {"feature_id": feature_id})


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"feature_id": ""}, "feature_id"),
        ({"limit": -1}, "limit"),
        ({"limit": MAX_AMOUNT + 1}, "limit"),
        ({"reset_period": 7}, "reset_period"),
    ],
)
def test_a_bad_package_feature_is_refused_by_its_place_and_field(
    client: Client, stubs: Stubs, entry: dict[str, Any], field: str
) -> None:
    package_id, feature_id = unique("package"), consumable(client)
    entries = [
        v1.PackageFeature(feature_id=consumable(client)),
        v1.PackageFeature(**{"feature_id": feature_id, **entry}),
    ]
    requested = v1.Package(id=package_id, features=entries)
    path = f"package.features[1].{field}"
    refused = failure(stubs.catalog.CreatePackage, v1.CreatePackageRequest(package=requested))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [path])
    assert "sent" in refused.violations[path]
    client.create_package(package_id, name="before")
    assert failure(stubs.catalog.UpdatePackage, v1.UpdatePackageRequest(package=requested)).fields == [path]
    assert (client.get_package(package_id).name, len(client.get_package(package_id).features)) == ("before", 0)


def test_a_binary_feature_takes_nothing_that_is_counted(client: Client, stubs: Stubs) -> None:
    counted: dict[str, Any] = {"limit": 0, "reset_period": v1.RESET_PERIOD_HOUR, "overage_enabled": True}
    entry = v1.PackageFeature(feature_id=binary(client), **counted)
    request = v1.CreatePackageRequest(package=v1.Package(id=unique("package"), features=[entry]))
    refused = failure(stubs.catalog.CreatePackage, request)
    assert refused.fields == sorted(f"package.features[0].{field}" for field in counted)


def test_a_package_takes_only_features_that_there_are_each_once(client: Client, stubs: Stubs) -> None:
    feature_id, archived_id, missing = consumable(client), consumable(client), unique("missing")
    client.archive_feature(archived_id)
    for ids, reason, metadata in (
        ([feature_id, feature_id], "INVALID_FIELD", {}),
        ([feature_id, missing], "FEATURE_NOT_FOUND", {"feature_id": missing}),
        ([feature_id, archived_id], "FEATURE_ARCHIVED", {"feature_id": archived_id}),
    ):
        requested = v1.Package(id=unique("package"), features=[v1.PackageFeature(feature_id=each) for each in ids])
        refused = failure(stubs.catalog.CreatePackage, v1.CreatePackageRequest(package=requested))
        assert (refused.reason, refused.metadata) == (reason, metadata)
        gone = failure(stubs.catalog.GetPackage, v1.GetPackageRequest(package_id=requested.id))
        assert (gone.reason, gone.metadata) == ("PACKAGE_NOT_FOUND", {"package_id": requested.id})


def test_an_unknown_feature_or_package_is_not_found_by_any_call(client: Client, stubs: Stubs) -> None:
    missing, user_id = unique("missing"), client.create_user(unique("user")).id
    catalog = stubs.catalog
    features: list[tuple[Callable[..., object], object]] = [
        (catalog.UpdateFeature, v1.UpdateFeatureRequest(feature=v1.Feature(id=missing, name="a"))),
        (catalog.ArchiveFeature, v1.ArchiveFeatureRequest(feature_id=missing)),
        (stubs.usage.ShowUsage, v1.ShowUsageRequest(user_id=user_id, feature_id=missing)),
    ]
    packages: list[tuple[Callable[..., object], object]] = [
        (catalog.UpdatePackage, v1.UpdatePackageRequest(package=v1.Package(id=missing, name="a"))),
        (catalog.PublishPackage, v1.PublishPackageRequest(package_id=missing)),
        (catalog.ArchivePackage, v1.ArchivePackageRequest(package_id=missing)),
        (stubs.subscriptions.Subscribe, v1.SubscribeRequest(user_id=user_id, package_ids=[missing])),
    ]
    for kind, calls in (("feature", features), ("package", packages)):
        for call, request in calls:
            refused = failure(call, request)
            assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, f"{kind.upper()}_NOT_FOUND")
            assert refused.metadata == {f"{kind}_id": missing}


def test_an_id_that_is_taken_already_exists_and_what_has_it_stays(client: Client, stubs: Stubs) -> None:
    feature = client.create_feature(unique("feature"), type=BINARY, name="first")
    package = client.create_package(unique("package"), name="first")
    again = v1.CreateFeatureRequest(feature=v1.Feature(id=feature.id, type=CONSUMABLE, name="second"))
    refused = failure(stubs.catalog.CreateFeature, again)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "FEATURE_EXISTS")
    assert refused.metadata == {"feature_id": feature.id}
    twice = v1.CreatePackageRequest(package=v1.Package(id=package.id, name="second"))
    refused = failure(stubs.catalog.CreatePackage, twice)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "PACKAGE_EXISTS")
    assert refused.metadata == {"package_id": package.id}
    assert (client.get_feature(feature.id), client.get_package(package.id)) == (feature, package)


def test_a_mask_says_which_fields_of_a_feature_change(client: Client, stubs: Stubs) -> None:
    feature_id = unique("feature")
    requested = v1.Feature(id=feature_id, name="new", unit_label="x")
    for paths, expected in (
        (["name"], {**KEPT, "name": "new"}),
        (["unit_label_plural", "metadata"], {**KEPT, "unit_label_plural": "", "metadata": {}}),
        (["*"], {"name": "new", "unit_label": "x", "unit_label_plural": "", "metadata": {}}),
        ([], {**KEPT, "name": "new", "unit_label": "x"}),
    ):
        requested.id = client.create_feature(unique("feature"), type=CONSUMABLE, **KEPT).id  # type: ignore[arg-type]
        request = v1.UpdateFeatureRequest(feature=requested, update_mask=FieldMask(paths=paths))
        changed = stubs.catalog.UpdateFeature(request).feature
        assert {name: getattr(changed, name) for name in KEPT} == expected
        assert changed == client.get_feature(requested.id)
        assert changed.type == CONSUMABLE


@pytest.mark.parametrize(
    "path", ["id", "type", "archived", "created_at", "nothing", "metadata.a", "", "Name", "*.name"]
)
def test_a_mask_with_another_field_is_refused_and_changes_nothing(client: Client, stubs: Stubs, path: str) -> None:
    feature_id = client.create_feature(unique("feature"), type=CONSUMABLE, name="before").id
    requested = v1.Feature(id=feature_id, type=BINARY, name="after")
    request = v1.UpdateFeatureRequest(feature=requested, update_mask=FieldMask(paths=["name", path]))
    refused = failure(stubs.catalog.UpdateFeature, request)
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["update_mask"])
    accepted = "only name, unit_label, unit_label_plural, metadata, on_unavailable can be changed"
    assert refused.violations["update_mask"].startswith(accepted)
    assert path in refused.violations["update_mask"]
    assert client.get_feature(feature_id).name == "before"


def test_a_feature_is_denied_while_the_store_is_unavailable_unless_it_is_set_otherwise(
    client: Client, stubs: Stubs
) -> None:
    deny, allow = v1.ON_UNAVAILABLE_DENY, v1.ON_UNAVAILABLE_ALLOW
    plain = stubs.catalog.CreateFeature(v1.CreateFeatureRequest(feature=v1.Feature(id=unique("feature"), type=BINARY)))
    assert plain.feature.on_unavailable == deny
    feature_id = client.create_feature(unique("feature"), type=BINARY, on_unavailable=v1.ON_UNAVAILABLE_LAST_KNOWN).id
    assert client.get_feature(feature_id).on_unavailable == v1.ON_UNAVAILABLE_LAST_KNOWN
    assert client.update_feature(feature_id, on_unavailable=allow).on_unavailable == allow
    assert client.update_feature(feature_id, name="another").on_unavailable == allow
    reset = v1.UpdateFeatureRequest(feature=v1.Feature(id=feature_id), update_mask=FieldMask(paths=["on_unavailable"]))
    assert stubs.catalog.UpdateFeature(reset).feature.on_unavailable == deny
    odd = v1.Feature(id=feature_id, on_unavailable=cast("v1.OnUnavailable.ValueType", 9))
    refused = failure(stubs.catalog.UpdateFeature, v1.UpdateFeatureRequest(feature=odd))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["feature.on_unavailable"])


def test_a_mask_says_which_fields_of_a_draft_change(client: Client, stubs: Stubs) -> None:
    entries = [v1.PackageFeature(feature_id=consumable(client), limit=5, reset_period=v1.RESET_PERIOD_DAY)]
    kept = {"name": "before", "type": v1.PACKAGE_TYPE_ADD_ON, "features": entries, "metadata": {"a": "b"}}
    cases: tuple[tuple[list[str], dict[str, Any]], ...] = (
        (["name"], {**kept, "name": "after"}),
        (["features", "metadata"], {**kept, "features": [], "metadata": {}}),
        (["*"], {"name": "after", "type": v1.PACKAGE_TYPE_BASE, "features": [], "metadata": {}}),
        ([], {**kept, "name": "after"}),
    )
    for paths, expected in cases:
        package_id = unique("package")
        stubs.catalog.CreatePackage(v1.CreatePackageRequest(package=v1.Package(id=package_id, **kept)))  # type: ignore[arg-type]
        requested = v1.Package(id=package_id, name="after")
        request = v1.UpdatePackageRequest(package=requested, update_mask=FieldMask(paths=paths))
        changed = stubs.catalog.UpdatePackage(request).package
        assert {name: getattr(changed, name) for name in kept} == expected
        assert changed == client.get_package(package_id)
    requested = v1.Package(id=client.create_package(unique("package")).id, name="after")
    for path in ("id", "status", "version", "created_at", "features.limit"):
        request = v1.UpdatePackageRequest(package=requested, update_mask=FieldMask(paths=[path]))
        assert failure(stubs.catalog.UpdatePackage, request).fields == ["update_mask"]
