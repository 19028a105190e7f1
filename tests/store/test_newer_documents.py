"""Documents written by a newer canuse on the same store: an older one works, and writes back what it does not know.

It gives no access by what it does not know.
"""

import json
from typing import Any, cast

import pytest
import structlog

from canuse import v1
from canuse_server.api.context import CallContext
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError
from canuse_server.api.hotpath.can_use import CanUse
from canuse_server.api.hotpath.executor import answer
from canuse_server.api.hotpath.leases import Reserve
from canuse_server.api.hotpath.record import CreateUsageEvent, UseFeature, UseFeatures
from canuse_server.api.services.catalog_service.servicer import CatalogServicer
from canuse_server.api.services.subscription_service.servicer import SubscriptionServicer
from canuse_server.api.services.users import UserServicer
from canuse_server.domain.model import Feature, FeatureType, Package, PackageFeature, PackageStatus
from canuse_server.runtime.once import Once
from canuse_server.store.codec.documents import UnreadableError
from support.database import KEYS, Database

CATALOG, USERS, SUBSCRIPTIONS = CatalogServicer(), UserServicer(), SubscriptionServicer()


async def begin(env: Environment) -> None:
    """Create a feature, a package with five of it, and a subscribed user."""
    await env.cache.put_feature(None, Feature("calls", FeatureType.CONSUMABLE, 1))
    package = Package("p", 1, features=(PackageFeature("calls", 5),), status=PackageStatus.PUBLISHED)
    await env.catalog.put_package(None, Package(**{**vars_of(package), "published_version": 1}))
    await USERS.create_user(v1.CreateUserRequest(user=v1.User(id="124", name="Ann")), CallContext(env))
    await SUBSCRIPTIONS.subscribe(v1.SubscribeRequest(user_id="124", package_ids=["p"]), CallContext(env))


def vars_of(item: Package) -> dict[str, Any]:
    """Return the fields of an object."""
    return {name: getattr(item, name) for name in item.__slots__}


def edit(database: Database, key: str, field: str, **changes: object) -> dict[str, Any]:
    """Change fields of a document, as a newer canuse might; return it."""
    document: dict[str, Any] = json.loads(database.call("HGET", key, field)) | changes
    database.redis.hset(key, field, json.dumps(document))
    database.redis.delete(KEYS.catalog_version)
    return document


def kept(database: Database, key: str, field: str) -> dict[str, Any]:
    """Return a document."""
    document: dict[str, Any] = json.loads(database.call("HGET", key, field))
    return document


async def may(env: Environment, *, explain: bool = False) -> v1.CanUseResponse:
    """Return whether a check of the user's feature is allowed."""
    request = v1.CanUseRequest(user_id="124", feature_id="calls", explain=explain)
    return v1.CanUseResponse.FromString(await answer(CanUse(), request.SerializeToString(), env))


async def renew(env: Environment) -> None:
    """Renew the user's entitlements."""
    await USERS.update_user(v1.UpdateUserRequest(user=v1.User(id="124", name="Bob")), CallContext(env))


def fresh(env: Environment) -> Environment:
    """Return the empty catalog cache of another server."""
    return Environment.of(env.store, "live", env.retention, default_package="")


async def test_unknown_fields_of_a_feature_are_kept_and_written_back(env: Environment, database: Database) -> None:
    """They were a TypeError, at the start and in every refresh of the catalog."""
    await begin(env)
    edit(database, KEYS.features, "calls", tier={"a": [1]}, unknown=3)
    await env.cache.refresh()
    assert (await may(env)).access
    request = v1.UpdateFeatureRequest(feature=v1.Feature(id="calls", name="Calls"))
    await CATALOG.update_feature(request, CallContext(env))
    document = kept(database, KEYS.features, "calls")
    assert (document["name"], document["tier"], document["unknown"]) == ("Calls", {"a": [1]}, 3)
    await CATALOG.archive_feature(v1.ArchiveFeatureRequest(feature_id="calls"), CallContext(env))
    assert kept(database, KEYS.features, "calls") == {**document, "archived": True}


async def test_unknown_fields_of_a_package_and_its_entries_are_kept_and_published(
    env: Environment, database: Database
) -> None:
    await begin(env)
    entry = {"feature_id": "calls", "limit": 7, "reset_period": 1, "rollover": 2}
    edit(database, KEYS.packages, "p", features=[entry], seats=4)
    request = v1.UpdatePackageRequest(package=v1.Package(id="p", name="Pro"))
    await CATALOG.update_package(request, CallContext(env))
    await CATALOG.publish_package(v1.PublishPackageRequest(package_id="p"), CallContext(env))
    document = kept(database, KEYS.package_versions, "2:p")
    assert (document["seats"], document["features"]) == (4, [{**entry, "overage_enabled": False}])
    assert document == kept(database, KEYS.packages, "p")


async def test_unknown_fields_of_profiles_and_grants_are_kept_and_written_back(
    env: Environment, database: Database
) -> None:
    await begin(env)
    database.redis.set(KEYS.profile("124"), '{"name":"Ann","locale":"de"}')
    await USERS.update_user(v1.UpdateUserRequest(user=v1.User(id="124", email="a@example.com")), CallContext(env))
    document = json.loads(database.call("GET", KEYS.profile("124")))
    assert document == {"name": "Ann", "email": "a@example.com", "locale": "de"}
    grant = v1.Grant(id="g", user_id="124", feature_id="calls", amount=3)
    await SUBSCRIPTIONS.create_grant(v1.CreateGrantRequest(grant=grant), CallContext(env))
    edit(database, KEYS.grants("124"), "g", reason="refund")
    # The same grant again is still the same.
    await SUBSCRIPTIONS.create_grant(v1.CreateGrantRequest(grant=grant), CallContext(env))
    await SUBSCRIPTIONS.revoke_grant(v1.RevokeGrantRequest(user_id="124", grant_id="g"), CallContext(env))
    document = kept(database, KEYS.grants("124"), "g")
    assert document["reason"] == "refund"
    assert document["revoked_at_ms"]


async def test_a_profile_with_nothing_but_unknown_fields_is_kept(env: Environment, database: Database) -> None:
    await begin(env)
    database.redis.set(KEYS.profile("124"), '{"name":"Ann","locale":"de"}')
    request = v1.UpdateUserRequest(user=v1.User(id="124"))
    request.update_mask.paths.append("name")
    await USERS.update_user(request, CallContext(env))
    assert json.loads(database.call("GET", KEYS.profile("124"))) == {"locale": "de"}


async def test_a_feature_of_an_unknown_type_gives_no_access_and_is_shown_and_kept(
    env: Environment, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("canuse_server.store.codec.documents._LOGGED", Once())
    await begin(env)
    edit(database, KEYS.features, "calls", type=9, on_unavailable=8)
    with structlog.testing.capture_logs() as logs:
        await env.cache.refresh()
    assert [(line["field"], line["value"]) for line in logs if "newer version" in line["event"]] == [
        ("type", 9),
        ("on_unavailable", 8),
    ]
    for explain in (False, True):
        assert not (await may(env, explain=explain)).access
    got = await CATALOG.get_feature(v1.GetFeatureRequest(feature_id="calls"), CallContext(env))
    assert (got.feature.type, got.feature.on_unavailable) == (0, 0)
    assert not got.feature.archived
    await CATALOG.update_feature(
        v1.UpdateFeatureRequest(feature=v1.Feature(id="calls", name="Calls")), CallContext(env)
    )
    document = kept(database, KEYS.features, "calls")
    assert (document["type"], document["on_unavailable"], document.get("archived")) == (9, 8, None)
    assert not (await may(env)).access
    # The count is kept for the version that understands it.
    before = database.call("HGET", KEYS.user("124"), "f:calls")
    await renew(env)
    assert database.call("HGET", KEYS.user("124"), "f:calls") == before
    entry = v1.PackageFeature(feature_id="calls")
    with pytest.raises(ApiError, match=r"features\[0\].feature_id: must not be 'calls': its type is 9"):
        await CATALOG.create_package(
            v1.CreatePackageRequest(package=v1.Package(id="q", features=[entry])), CallContext(env)
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"type": 9},
        {"status": 9},
        {"features": [{"feature_id": "calls", "limit": 7, "reset_period": 9, "overage_enabled": True}]},
    ],
    ids=["type", "status", "reset period"],
)
async def test_what_a_package_gives_in_an_unknown_way_is_no_access(
    env: Environment, database: Database, changes: dict[str, Any]
) -> None:
    await begin(env)
    assert (await may(env)).access
    edit(database, KEYS.package_versions, "1:p", **changes)
    edit(database, KEYS.packages, "p", **changes)
    other = fresh(env)
    await renew(other)
    for explain in (False, True):
        assert not (await may(other, explain=explain)).access
    got = (await CATALOG.get_package(v1.GetPackageRequest(package_id="p"), CallContext(other))).package
    assert 0 in (got.type, got.status, got.features[0].reset_period)
    version = await CATALOG.get_package(v1.GetPackageRequest(package_id="p", version=1), CallContext(other))
    assert version.package.id == "p"


@pytest.mark.parametrize("changes", [{"type": 9}, {"status": 9}], ids=["type", "status"])
async def test_nobody_is_subscribed_to_a_package_of_an_unknown_kind(
    env: Environment, database: Database, changes: dict[str, Any]
) -> None:
    await begin(env)
    edit(database, KEYS.packages, "p", **changes)
    await USERS.create_user(v1.CreateUserRequest(user=v1.User(id="125")), CallContext(env))
    with pytest.raises(ApiError) as refused:
        await SUBSCRIPTIONS.subscribe(v1.SubscribeRequest(user_id="125", package_ids=["p"]), CallContext(env))
    assert refused.value.reason.name == "PACKAGE_NOT_PUBLISHED"


async def test_a_subscription_of_an_unknown_status_gives_no_access_and_keeps_it(
    env: Environment, database: Database
) -> None:
    """It was a ValueError in every call about the user."""
    await begin(env)
    fields: dict[bytes, bytes] = cast("Any", database.redis.hgetall(KEYS.user("124")))
    [(field, value)] = [item for item in fields.items() if item[0][:2] == b"s:"]
    database.redis.hset(KEYS.user("124"), field, bytes([41]) + value[1:])
    await renew(env)
    for explain in (False, True):
        assert not (await may(env, explain=explain)).access
    listed = await SUBSCRIPTIONS.list_subscriptions(v1.ListSubscriptionsRequest(user_id="124"), CallContext(env))
    assert [item.status for item in listed.subscriptions] == [v1.SUBSCRIPTION_STATUS_UNSPECIFIED]
    request = v1.UpdateSubscriptionRequest(subscription=v1.Subscription(id=listed.subscriptions[0].id))
    request.subscription.cancel_at.FromSeconds(4_000_000_000)
    await SUBSCRIPTIONS.update_subscription(request, CallContext(env))
    changed = database.call("HGET", KEYS.user("124"), field)
    assert changed[0] == 41 | 128


async def test_unknown_flags_and_more_bytes_of_a_user_are_kept(env: Environment, database: Database) -> None:
    await begin(env)
    meta = database.call("HGET", KEYS.user("124"), "m")
    database.redis.hset(KEYS.user("124"), "m", bytes([0b1010]) + meta[1:] + b"more")
    await USERS.update_user(v1.UpdateUserRequest(user=v1.User(id="124", disabled=True)), CallContext(env))
    changed = database.call("HGET", KEYS.user("124"), "m")
    assert (changed[0], changed[17:]) == (0b1011, b"more")
    assert (await may(env)).reason == v1.REASON_USER_DISABLED


@pytest.mark.parametrize("event_id", ["", "e"])
@pytest.mark.parametrize("granted", [False, True])
async def test_an_entitlement_with_an_unknown_reset_period_gives_no_access(
    env: Environment, database: Database, granted: bool, event_id: str
) -> None:
    """Checks were refused, but uses and leases were granted."""
    await begin(env)
    if granted:
        grant = v1.Grant(id="g", user_id="124", feature_id="calls", amount=3)
        await SUBSCRIPTIONS.create_grant(v1.CreateGrantRequest(grant=grant), CallContext(env))
    value = database.call("HGET", KEYS.user("124"), "f:calls")
    database.redis.hset(KEYS.user("124"), "f:calls", value[:1] + bytes([9]) + value[2:])
    use = v1.UseFeatureRequest(feature_id="calls", user_id="124", event_id=event_id)
    several = v1.UseFeaturesRequest(charges=[v1.Charge(feature_id="calls")], user_id="124")
    lease = v1.ReserveRequest(feature_id="calls", amount=1, user_id="124")
    fact = v1.CreateUsageEventRequest(user_id="124", feature_id="calls", delta=1)
    inactive = v1.REASON_SUBSCRIPTION_INACTIVE
    used = v1.UseFeatureResponse.FromString(await answer(UseFeature(), use.SerializeToString(), env))
    assert (used.access, used.reason) == (False, inactive)
    all_used = v1.UseFeaturesResponse.FromString(await answer(UseFeatures(), several.SerializeToString(), env))
    assert not all_used.access
    reserved = v1.ReserveResponse.FromString(await answer(Reserve(), lease.SerializeToString(), env))
    assert (reserved.granted, reserved.reason) == (0, inactive)
    assert not (await may(env)).access
    response = v1.CreateUsageEventResponse.FromString(await answer(CreateUsageEvent(), fact.SerializeToString(), env))
    assert (response.recorded, response.reason) == (True, inactive)


GARBAGE = [b"", b"{", b"[]", b"7", b'{"id":"bad"}', b'{"id":"bad","type":2,"created_at_ms":"then"}', b"\xff"]
# JSON that can't be sent in a message was an internal error for every list with it.
GARBAGE += [
    b'{"id":"bad","type":2,"created_at_ms":1,"name":"\\ud800"}',
    b'{"id":"bad","type":2,"created_at_ms":1,"metadata":{"\\udc00":""}}',
    b'{"id":"bad","type":2,"created_at_ms":1,"n\\ud801w":1}',
]


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_one_document_that_can_not_be_read_stops_no_other_and_is_not_overwritten(
    env: Environment, database: Database, garbage: bytes
) -> None:
    await begin(env)
    for items, index in ((KEYS.features, KEYS.feature_ids), (KEYS.packages, KEYS.package_ids)):
        database.redis.hset(items, "bad", garbage)
        database.redis.zadd(index, {"bad": 0})
    database.redis.delete(KEYS.catalog_version)
    other = fresh(env)
    with structlog.testing.capture_logs() as logs:
        await other.cache.refresh()
    # Logged once per process: another store of these tests may have been first.
    response = {(line["what"], line["id"]) for line in logs if line["log_level"] == "error"}
    assert response <= {("feature", "bad")}
    assert (await may(other)).access
    assert other.cache.features["bad"].archived
    features = (await CATALOG.list_features(v1.ListFeaturesRequest(), CallContext(other))).features
    packages = (await CATALOG.list_packages(v1.ListPackagesRequest(), CallContext(other))).packages
    assert [(item.id, item.type) for item in features] == [("bad", 0), ("calls", 2)]
    assert [(item.id, item.status) for item in packages] == [("bad", 0), ("p", 2)]
    for call in (
        CATALOG.archive_feature(v1.ArchiveFeatureRequest(feature_id="bad"), CallContext(other)),
        CATALOG.archive_package(v1.ArchivePackageRequest(package_id="bad"), CallContext(other)),
    ):
        with pytest.raises(UnreadableError):
            await call
    assert database.call("HGET", KEYS.features, "bad") == garbage
    assert database.call("HGET", KEYS.packages, "bad") == garbage


async def test_a_number_that_no_message_can_hold_hides_no_other_package(env: Environment, database: Database) -> None:
    await begin(env)
    database.redis.hset(KEYS.packages, "bad", '{"id":"bad","created_at_ms":1,"published_version":4294967296}')
    database.redis.zadd(KEYS.package_ids, {"bad": 0})
    packages = (await CATALOG.list_packages(v1.ListPackagesRequest(), CallContext(env))).packages
    assert [(item.id, item.status) for item in packages] == [("bad", 0), ("p", 2)]


async def test_a_profile_that_can_not_be_read_hides_no_other_user(env: Environment, database: Database) -> None:
    await begin(env)
    database.redis.set(KEYS.profile("124"), "garbage")
    await USERS.create_user(v1.CreateUserRequest(user=v1.User(id="125", name="Bob")), CallContext(env))
    listed = await USERS.list_users(v1.ListUsersRequest(), CallContext(env))
    assert {item.id: item.name for item in listed.users} == {"124": "", "125": "Bob"}
