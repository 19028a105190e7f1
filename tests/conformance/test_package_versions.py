"""Versions of a package: published ones never change, an edit makes the next draft.

Each subscription stays on its version.
"""

from datetime import UTC, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from canuse import v1
from support.message_clients import Client
from support.resources import Clock, binary, consumable, package, subscriber, unique
from support.wire import Stubs, failure

DRAFT, PUBLISHED, ARCHIVED = v1.PACKAGE_STATUS_DRAFT, v1.PACKAGE_STATUS_PUBLISHED, v1.PACKAGE_STATUS_ARCHIVED
DAY, MONTH = v1.RESET_PERIOD_DAY, v1.RESET_PERIOD_MONTH


def of(feature_id: str, limit: int, period: v1.ResetPeriod.ValueType = MONTH) -> list[v1.PackageFeature]:
    """Return the features of a package with a single one."""
    return [v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=period)]


def version_state(package: v1.Package) -> tuple[int, v1.PackageStatus.ValueType, int]:
    """Return the version, its status, and the version that new subscriptions get."""
    return package.version, package.status, package.published_version


def budget(client: Client, user_id: str, feature_id: str) -> int:
    """Return a user's budget for a feature."""
    return client.can_use(user_id, feature_id).consumption.budget


def newcomer(client: Client, package_id: str) -> str:
    """Create a user who subscribes now; return the id."""
    user_id = client.create_user(unique("user")).id
    client.subscribe(user_id, [package_id])
    return user_id


def test_an_edit_of_a_published_package_makes_the_next_draft_and_further_edits_change_that_one(client: Client) -> None:
    feature_id, package_id = consumable(client), unique("package")
    assert version_state(client.create_package(package_id, of(feature_id, 1))) == (1, DRAFT, 0)
    assert version_state(client.update_package(package_id, name="first")) == (1, DRAFT, 0)
    first = client.publish_package(package_id)
    assert version_state(first) == (1, PUBLISHED, 1)

    assert version_state(client.update_package(package_id, features=of(feature_id, 2))) == (2, DRAFT, 1)
    draft = client.update_package(package_id, name="second")
    assert version_state(draft) == (2, DRAFT, 1)
    assert (draft.name, draft.features[0].limit, draft.created_at) == ("second", 2, first.created_at)
    assert client.get_package(package_id) == draft
    assert client.get_package(package_id, version=1) == first

    second = client.publish_package(package_id)
    assert version_state(second) == (2, PUBLISHED, 2)
    assert client.publish_package(package_id) == second == client.get_package(package_id, version=2)
    assert version_state(client.update_package(package_id, metadata={"a": "b"})) == (3, DRAFT, 2)
    assert [each.limit for each in client.get_package(package_id, version=1).features] == [1]


def test_an_edit_that_changes_nothing_makes_no_draft(client: Client, stubs: Stubs) -> None:
    feature_id, package_id = consumable(client), unique("package")
    client.create_package(package_id, of(feature_id, 1), name="a", metadata={"k": "v"})
    published = client.publish_package(package_id)
    assert client.update_package(package_id, name="a", metadata={"k": "v"}, features=of(feature_id, 1)) == published
    # A package can be sent back as it was received.
    request = v1.UpdatePackageRequest(package=published, update_mask=FieldMask(paths=["*"]))
    assert stubs.catalog.UpdatePackage(request).package == published


def test_subscriptions_stay_on_their_version_and_new_ones_get_the_published_one(client: Client) -> None:
    feature_id, package_id = consumable(client), unique("package")
    client.create_package(package_id, of(feature_id, 1))
    client.publish_package(package_id)
    first = newcomer(client, package_id)
    client.update_package(package_id, features=of(feature_id, 2))
    while_drafted = newcomer(client, package_id)
    client.publish_package(package_id)
    second = newcomer(client, package_id)
    client.update_package(package_id, features=of(feature_id, 3))
    client.publish_package(package_id)
    people = [first, while_drafted, second, newcomer(client, package_id)]
    versions = [each.package_version for user_id in people for each in client.list_subscriptions(user_id)]
    assert versions == [1, 1, 2, 3]
    assert [budget(client, user_id, feature_id) for user_id in people] == [1, 1, 2, 3]
    # Another change of the user does not change that.
    [subscription] = client.list_subscriptions(first)
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_PAST_DUE)
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_ACTIVE)
    assert budget(client, first, feature_id) == 1


def test_a_subscription_is_cancelled_at_the_period_end_of_its_own_version(clocked: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(clocked, 1, DAY)
    [subscription] = clocked.list_subscriptions(user_id)
    clocked.update_package(subscription.package_id, features=of(feature_id, 1, MONTH))
    clocked.publish_package(subscription.package_id)
    ending = clocked.cancel_subscription(subscription.id, at_period_end=True)
    assert ending.cancel_at.ToDatetime(UTC) == clock.now() + timedelta(days=1)


@pytest.mark.parametrize("version", [2, 3, 2**31 - 1])
def test_a_version_that_was_never_published_is_not_found(client: Client, stubs: Stubs, version: int) -> None:
    package_id = package(client, [])
    assert client.update_package(package_id, name="the next").version == 2
    refused = failure(stubs.catalog.GetPackage, v1.GetPackageRequest(package_id=package_id, version=version))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "PACKAGE_NOT_FOUND")
    assert refused.metadata == {"package_id": package_id, "version": str(version)}


def test_a_version_of_no_package_is_not_found_and_one_below_zero_is_no_version(client: Client, stubs: Stubs) -> None:
    missing = unique("missing")
    refused = failure(stubs.catalog.GetPackage, v1.GetPackageRequest(package_id=missing, version=1))
    assert (refused.reason, refused.metadata) == ("PACKAGE_NOT_FOUND", {"package_id": missing})
    request = v1.GetPackageRequest(package_id=package(client, []), version=-1)
    assert failure(stubs.catalog.GetPackage, request).fields == ["version"]


def test_the_type_stays_once_a_version_was_published(client: Client, stubs: Stubs) -> None:
    add_on: Any = {"type": v1.PACKAGE_TYPE_ADD_ON}
    package_id = client.create_package(unique("package")).id
    assert client.update_package(package_id, **add_on).type == v1.PACKAGE_TYPE_ADD_ON
    assert client.update_package(package_id, type=v1.PACKAGE_TYPE_BASE).type == v1.PACKAGE_TYPE_BASE
    client.publish_package(package_id)
    for _ in ("published", "a draft again"):
        before = client.get_package(package_id)
        request = v1.UpdatePackageRequest(package=v1.Package(id=package_id, name="other", **add_on))
        refused = failure(stubs.catalog.UpdatePackage, request)
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PACKAGE_IMMUTABLE")
        assert refused.metadata == {"package_id": package_id}
        assert client.get_package(package_id) == before
        assert client.update_package(package_id, name="next", type=v1.PACKAGE_TYPE_BASE).version == 2


def test_an_archived_package_keeps_its_versions_and_its_subscriptions_and_loses_its_draft(
    client: Client, stubs: Stubs
) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    package_id = subscription.package_id
    client.update_package(package_id, features=of(feature_id, 9))
    assert version_state(client.archive_package(package_id)) == (2, ARCHIVED, 1)
    version = client.get_package(package_id, version=1)
    assert (version_state(version), version.features[0].limit) == ((1, ARCHIVED, 1), 5)
    for call, request in (
        (stubs.catalog.PublishPackage, v1.PublishPackageRequest(package_id=package_id)),
        (stubs.catalog.UpdatePackage, v1.UpdatePackageRequest(package=v1.Package(id=package_id, name="a"))),
    ):
        assert failure(call, request).reason == "PACKAGE_ARCHIVED"
    other_id = client.create_user(unique("user")).id
    subscribe = v1.SubscribeRequest(user_id=other_id, package_ids=[package_id])
    assert failure(stubs.subscriptions.Subscribe, subscribe).reason == "PACKAGE_NOT_PUBLISHED"
    assert client.use_feature(user_id, feature_id, 5).access


def test_packages_are_listed_as_they_were_last_edited(client: Client) -> None:
    package_id = package(client, of(consumable(client), 1))
    draft = client.update_package(package_id, features=[v1.PackageFeature(feature_id=binary(client))])
    assert [each for each in client.list_packages(page_size=1000) if each.id == package_id] == [draft]


def test_edits_and_publications_at_once_leave_every_published_version_as_it_was_published(
    client: Client, stubs: Stubs
) -> None:
    feature_id, package_id = consumable(client), unique("package")
    client.create_package(package_id, of(feature_id, 0))
    edits: list[grpc.Future[v1.UpdatePackageResponse]] = []
    publications: list[grpc.Future[v1.PublishPackageResponse]] = []
    for limit in range(1, 16):
        edited_package = v1.Package(id=package_id, features=of(feature_id, limit))
        edits.append(stubs.catalog.UpdatePackage.future(v1.UpdatePackageRequest(package=edited_package)))
        publications.append(stubs.catalog.PublishPackage.future(v1.PublishPackageRequest(package_id=package_id)))
    edited = [call.result().package for call in edits]
    published = [call.result().package for call in publications]
    current = client.get_package(package_id)
    limits = {each.version: each.features[0].limit for each in published}
    for version in range(1, current.published_version + 1):
        found = client.get_package(package_id, version=version)
        assert version_state(found) == (version, PUBLISHED, current.published_version)
        assert found.features[0].limit == limits.get(version, found.features[0].limit)
    # Each publisher got a version that stayed as it was, and each editor a draft that was not published yet.
    assert all(each.status == PUBLISHED and each.published_version == each.version for each in published)
    assert all(each.features[0].limit == limits[each.version] for each in published)
    assert all((each.status, each.version) == (DRAFT, each.published_version + 1) for each in edited)
    assert current.version - current.published_version == (current.status == DRAFT)
