"""ListEntitlements with `include_locked`: what the user does not have, and the packages that give it."""

from canuse import v1
from support.message_clients import Client
from support.resources import binary, consumable, package, subscriber, unique
from support.wire import Stubs


def locked(client: Client, user_id: str) -> dict[str, v1.Entitlement]:
    """Return the features that a user does not have, by id."""
    listed = list(client.list_entitlements(user_id, include_locked=True))
    assert [each.feature_id for each in listed] == sorted({each.feature_id for each in listed})
    own = {each.feature_id: each for each in client.list_entitlements(user_id)}
    assert {each.feature_id: each for each in listed if each.feature_id in own} == own
    return {each.feature_id: each for each in listed if each.feature_id not in own}


def test_a_feature_that_the_user_does_not_have_is_listed_with_its_packages(client: Client) -> None:
    user_id, own = subscriber(client, 3)
    counted, switch, alone = consumable(client), binary(client), consumable(client)
    entries = [v1.PackageFeature(feature_id=counted, limit=3), v1.PackageFeature(feature_id=switch)]
    packages = sorted([package(client, entries), package(client, entries[:1], v1.PACKAGE_TYPE_ADD_ON)])
    [both] = [name for name in packages if len(client.get_package(name).features) == 2]
    found = locked(client, user_id)
    assert own not in found
    assert found[counted] == v1.Entitlement(feature_id=counted, reason=v1.REASON_NOT_ENTITLED, package_ids=packages)
    assert list(found[switch].package_ids) == [both]
    assert list(found[alone].package_ids) == []
    client.subscribe(user_id, [name for name in packages if name != both])
    assert counted not in locked(client, user_id)


def test_a_package_counts_in_the_version_that_new_subscriptions_get(client: Client) -> None:
    user_id = client.create_user(unique("user")).id
    old, new, draft = consumable(client), consumable(client), consumable(client)
    package_id = package(client, [v1.PackageFeature(feature_id=old)])
    client.create_package(unique("package"), [v1.PackageFeature(feature_id=draft)])
    client.update_package(package_id, features=[v1.PackageFeature(feature_id=new)])
    found = locked(client, user_id)
    assert [list(found[name].package_ids) for name in (old, new, draft)] == [[package_id], [], []]
    client.publish_package(package_id)
    found = locked(client, user_id)
    assert [list(found[name].package_ids) for name in (old, new, draft)] == [[], [package_id], []]
    client.archive_package(package_id)
    assert list(locked(client, user_id)[new].package_ids) == []


def test_an_archived_feature_is_not_offered(client: Client) -> None:
    user_id, feature_id = client.create_user(unique("user")).id, consumable(client)
    assert feature_id in locked(client, user_id)
    client.archive_feature(feature_id)
    assert feature_id not in locked(client, user_id)


def test_pages_have_both_kinds_in_one_order(client: Client, stubs: Stubs) -> None:
    user_id, _ = subscriber(client, 3)
    for _ in range(3):
        consumable(client)
    whole = [each.feature_id for each in client.list_entitlements(user_id, include_locked=True)]
    by_page = [each.feature_id for each in client.list_entitlements(user_id, include_locked=True, page_size=2)]
    assert by_page == whole
    page = stubs.entitlements.ListEntitlements(
        v1.ListEntitlementsRequest(user_id=user_id, include_locked=True, page_size=2)
    )
    assert len(page.entitlements) == 2


def test_of_what_the_user_has_no_packages_are_named(client: Client) -> None:
    user_id, feature_id = subscriber(client, 0)
    [entitlement] = [
        each for each in client.list_entitlements(user_id, include_locked=True) if each.feature_id == feature_id
    ]
    assert (entitlement.reason, list(entitlement.package_ids)) == (v1.REASON_BUDGET_EXCEEDED, [])
