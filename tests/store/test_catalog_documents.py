"""ApplyCatalog on the store: one guarded write, users counted in steps, and what a newer canuse wrote."""

import json
from typing import Any

import pytest
from redis import Redis

from canuse import v1
from canuse_server.api.catalog import losses
from canuse_server.api.context import CallContext
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError
from canuse_server.api.services.catalog_service.servicer import CatalogServicer
from canuse_server.api.services.subscription_service.servicer import SubscriptionServicer
from canuse_server.api.services.users import UserServicer
from canuse_server.domain.model import Feature
from canuse_server.store.codec.documents import UnreadableError, decode_feature
from canuse_server.store.errors import StoreUnavailableError
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.catalog import CHANGES_KEPT
from canuse_server.store.repositories.catalog_snapshot import CatalogSnapshots, Snapshot
from support.database import KEYS, RETENTION, Database

CATALOG, USERS, SUBSCRIPTIONS = CatalogServicer(), UserServicer(), SubscriptionServicer()
CONSUMABLE = v1.FEATURE_TYPE_CONSUMABLE
MANY_USERS = 100


def pro(limit: int, **fields: Any) -> v1.Package:
    """Return a package with a limit of `calls`."""
    return v1.Package(id="pro", features=[v1.PackageFeature(feature_id="calls", limit=limit)], **fields)


def request(*packages: v1.Package, **fields: Any) -> v1.ApplyCatalogRequest:
    """Return a document with the feature `calls`."""
    return v1.ApplyCatalogRequest(features=[v1.Feature(id="calls", type=CONSUMABLE)], packages=packages, **fields)


async def apply(env: Environment, *packages: v1.Package, **fields: Any) -> v1.ApplyCatalogResponse:
    """Apply a document."""
    return await CATALOG.apply_catalog(request(*packages, **fields), CallContext(env))


def actions(answer: v1.ApplyCatalogResponse) -> list[int]:
    """Return the kinds of the changes."""
    return [each.action for each in answer.changes]


def document(database: Database, key: str, field: str) -> dict[str, Any]:
    """Return a stored document."""
    found: dict[str, Any] = json.loads(database.call("HGET", key, field))
    return found


async def test_users_are_counted_in_steps_each_once(
    env: Environment, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await apply(env, pro(5))
    for number in range(MANY_USERS):
        user_id = str(number)
        await USERS.create_user(v1.CreateUserRequest(user=v1.User(id=user_id)), CallContext(env))
        if number % 4:
            await SUBSCRIPTIONS.subscribe(v1.SubscribeRequest(user_id=user_id, package_ids=["pro"]), CallContext(env))
    monkeypatch.setattr(losses, "COUNT_SECONDS", 0.0)
    token, users, lost, calls = "", 0, 0, 0
    while True:
        answer = await apply(env, pro(4), dry_run=True, resume_token=token)
        users, lost, calls = users + answer.users, lost + sum(each.users for each in answer.access_losses), calls + 1
        token = answer.resume_token
        if not token:
            break
    assert (users, lost) == (MANY_USERS, MANY_USERS * 3 // 4)
    assert calls > 4


async def test_a_token_is_good_for_its_document_only(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    await apply(env, pro(5))
    for number in range(40):
        await USERS.create_user(v1.CreateUserRequest(user=v1.User(id=str(number))), CallContext(env))
    monkeypatch.setattr(losses, "COUNT_SECONDS", 0.0)
    token = (await apply(env, pro(4), dry_run=True)).resume_token
    assert token
    others: list[dict[str, Any]] = [{"dry_run": False}, {"archive_missing": True}, {"resume_token": token[:-2]}]
    for other in others:
        with pytest.raises(ApiError, match="resume_token: must be a resume_token for the same document"):
            await apply(env, pro(4), **{"dry_run": True, "resume_token": token, **other})
    with pytest.raises(ApiError, match="resume_token"):
        await apply(env, pro(3), dry_run=True, resume_token=token)
    # An etag may come with it.
    answer = await apply(env, pro(4), dry_run=True, resume_token=token, etag=(await apply(env)).etag)
    assert answer.users


async def test_a_change_between_the_read_and_the_write_is_read_again(
    env: Environment, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the guard, the document would be written over the other change."""
    await apply(env, pro(5))
    read = CatalogSnapshots.read
    seen: list[bytes] = []

    async def read_and_change(self: CatalogSnapshots, *ids: Any, **options: Any) -> Snapshot:
        snapshot = await read(self, *ids, **options)
        if not seen:
            await CATALOG.update_package(
                v1.UpdatePackageRequest(package=v1.Package(id="pro", name="meanwhile")), CallContext(env)
            )
            await CATALOG.publish_package(v1.PublishPackageRequest(package_id="pro"), CallContext(env))
        seen.append(snapshot.stamp)
        return snapshot

    monkeypatch.setattr(CatalogSnapshots, "read", read_and_change)
    answer = await apply(env, pro(6))
    assert len(seen) == 2
    assert [change.version for change in answer.changes] == [3, 3]
    assert document(database, KEYS.package_versions, "2:pro")["name"] == "meanwhile"


async def test_a_change_during_the_read_is_read_again(
    env: Environment, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await apply(env, pro(5))
    read = CatalogSnapshots._with_published
    changed: list[bool] = []

    async def change_and_read(self: CatalogSnapshots, *latest: Any) -> Any:
        if not changed:
            changed.append(True)
            await CATALOG.archive_feature(v1.ArchiveFeatureRequest(feature_id="calls"), CallContext(env))
        return await read(self, *latest)

    monkeypatch.setattr(CatalogSnapshots, "_with_published", change_and_read)
    with pytest.raises(ApiError, match="is archived, which cannot be undone"):
        await apply(env, pro(5))


async def test_other_servers_read_what_changed_and_no_more(
    env: Environment, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await apply(env, pro(5))
    other = Environment.of(store, "live", RETENTION, default_package="")
    await other.cache.refresh()
    decoded: list[bytes] = []

    def counted(value: bytes) -> Feature:
        decoded.append(value)
        return decode_feature(value)

    monkeypatch.setattr("canuse_server.store.repositories.catalog.decode_feature", counted)
    features = [v1.Feature(id=f"f{number}", type=CONSUMABLE) for number in range(30)]
    await CATALOG.apply_catalog(v1.ApplyCatalogRequest(features=features), CallContext(env))
    await other.cache.refresh()
    assert len(decoded) == 30
    assert set(other.cache.features) == {"calls", *(feature.id for feature in features)} == set(env.cache.features)
    # More changes than the log keeps are read with the rest.
    many = [v1.Feature(id=f"g{number}", type=CONSUMABLE) for number in range(2 * CHANGES_KEPT)]
    await CATALOG.apply_catalog(v1.ApplyCatalogRequest(features=many), CallContext(env))
    await other.cache.refresh()
    assert len(other.cache.features) == len(many) + 31
    await env.cache.refresh()
    assert env.cache.features == other.cache.features


async def test_a_document_that_changes_nothing_writes_nothing(env: Environment, database: Database) -> None:
    await apply(env, pro(5))
    before = database.contents()
    await apply(env, pro(5))
    await apply(env, pro(6), dry_run=True)
    assert database.contents() == before


async def test_what_a_newer_version_wrote_is_kept(env: Environment, database: Database) -> None:
    await apply(env, pro(5))
    redis: Redis = database.redis
    redis.hset(KEYS.features, "calls", json.dumps(document(database, KEYS.features, "calls") | {"tier": 1}))
    entries = [{"feature_id": "calls", "limit": 5, "reset_period": 1, "rollover": 2}]
    changed = document(database, KEYS.packages, "pro") | {"seats": 4, "features": entries}
    for key, field in ((KEYS.packages, "pro"), (KEYS.package_versions, "1:pro")):
        redis.hset(key, field, json.dumps(changed))
    await apply(env, pro(5, name="Pro"))
    stored = document(database, KEYS.packages, "pro")
    assert (stored["seats"], stored["name"], stored["version"]) == (4, "Pro", 2)
    assert stored["features"] == [{**entries[0], "overage_enabled": False}]
    assert document(database, KEYS.package_versions, "2:pro") == stored
    other = v1.Feature(id="calls", type=CONSUMABLE, name="Calls")
    await CATALOG.apply_catalog(v1.ApplyCatalogRequest(features=[other]), CallContext(env))
    assert document(database, KEYS.features, "calls")["tier"] == 1


@pytest.mark.parametrize("field", ["type", "status"])
async def test_a_package_of_an_unknown_kind_is_not_changed(env: Environment, database: Database, field: str) -> None:
    await apply(env, pro(5))
    changed = document(database, KEYS.packages, "pro") | {field: 9}
    database.redis.hset(KEYS.packages, "pro", json.dumps(changed))
    with pytest.raises(ApiError, match=r"packages\[0\]\.id: must not be 'pro': a newer version of canuse wrote it"):
        await apply(env, pro(6))
    assert document(database, KEYS.packages, "pro") == changed


async def test_an_unreadable_item_is_not_overwritten(env: Environment, database: Database) -> None:
    await apply(env, pro(5))
    database.redis.hset(KEYS.packages, "pro", "no JSON")
    with pytest.raises(UnreadableError):
        await apply(env, pro(6))
    with pytest.raises(UnreadableError):
        await apply(env, archive_missing=True)
    assert database.redis.hget(KEYS.packages, "pro") == b"no JSON"


async def test_a_published_version_that_is_lost_is_not_published_again(env: Environment, database: Database) -> None:
    await apply(env, pro(5), pro(6, status=v1.PACKAGE_STATUS_DRAFT))
    database.redis.hdel(KEYS.package_versions, "1:pro")
    with pytest.raises(StoreUnavailableError, match="published versions of packages are not in the store"):
        await apply(env, pro(5))


async def test_a_discarded_draft_leaves_the_published_version(env: Environment, database: Database) -> None:
    await apply(env, pro(5))
    first = database.contents()[KEYS.packages.encode()]
    await apply(env, pro(5), pro(6, status=v1.PACKAGE_STATUS_DRAFT))
    answer = await apply(env, pro(5))
    assert actions(answer) == [v1.CATALOG_ACTION_DISCARD_DRAFT]
    assert database.contents()[KEYS.packages.encode()] == first
