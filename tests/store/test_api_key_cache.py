"""The cache of API keys on a real store, without background refresh."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from canuse import v1
from canuse_server.api.context import CallContext
from canuse_server.api.environment import Environments
from canuse_server.api.errors import ApiError
from canuse_server.api.ratelimit.config import RateLimitRules
from canuse_server.api.services.api_keys import ApiKeyServicer
from canuse_server.api.tokens.api_key import digest
from canuse_server.auth.authorizer import Authorizer
from canuse_server.auth.bootstrap import create_first_key
from canuse_server.auth.key_cache import ApiKeyCache
from canuse_server.domain.periods import DAY_MS
from canuse_server.domain.principal import Principal
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.store.keys import API_KEYS, API_KEYS_VERSION
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.api_keys import ApiKeys
from canuse_server.store.repositories.audit.writing import AuditWriter
from canuse_server.store.repositories.usage_commands import Retention
from support.authenticated_server import LIVE, SCOPES
from support.database import Database

ADMIN = Principal("key_admin", "live")
CAN_USE = "/canuse.v1.EntitlementService/CanUse"


class Deployment:
    """The parts of a server that handle keys."""

    def __init__(self, store: Store, *, never_required: bool = False) -> None:
        self.environments = Environments.of(
            store, Retention(3_600_000, 3_600_000, 3), "", RateLimitRules(), RateLimitRules()
        )
        self.keys = ApiKeys(store, AuditWriter(store, DAY_MS))
        self.authorizer = Authorizer(self.environments, never_required=never_required, open_without_keys=True)
        self.key_cache = ApiKeyCache(self.keys, self.authorizer)
        self.servicer = ApiKeyServicer(self.keys, self.key_cache.refresh)

    def context(self, principal: Principal | None = ADMIN) -> CallContext:
        """Return the context of a call."""
        return CallContext(self.environments.live, principal)

    async def create(self, principal: Principal | None = ADMIN) -> tuple[str, bytes]:
        """Create a key; return its id, and the header with its secret."""
        key = v1.ApiKey(name="n", environment=LIVE, scopes=SCOPES)
        created = await self.servicer.create_api_key(v1.CreateApiKeyRequest(api_key=key), self.context(principal))
        return created.api_key.id, f"Bearer {created.secret}".encode()

    def reason_of(self, header: bytes | None) -> str:
        """Return the reason with which a call is refused, empty if it is allowed."""
        return reason_of(lambda: self.authorizer.authorize(CAN_USE, header))


@pytest.fixture
def deployment(store: Store) -> Deployment:
    """Key handling on an empty store."""
    return Deployment(store)


def reason_of(call: Callable[[], object]) -> str:
    """Return the reason with which a call fails, empty if it succeeds."""
    try:
        call()
    except ApiError as error:
        return error.reason.name
    return ""


def test_no_call_is_authorized_before_the_keys_have_been_read(deployment: Deployment) -> None:
    assert deployment.reason_of(None) == "STORE_UNAVAILABLE"
    assert deployment.reason_of(b"Bearer sk_live_1") == "STORE_UNAVAILABLE"
    assert not deployment.authorizer.is_open


async def test_a_change_takes_effect_here_before_its_caller_gets_the_answer(deployment: Deployment) -> None:
    await deployment.key_cache.refresh()
    assert deployment.reason_of(None) == ""
    _, first = await deployment.create()
    assert [deployment.reason_of(None), deployment.reason_of(first)] == ["API_KEY_MISSING", ""]
    key_id, second = await deployment.create()
    assert deployment.reason_of(second) == ""
    await deployment.servicer.revoke_api_key(v1.RevokeApiKeyRequest(api_key_id=key_id), deployment.context())
    assert [deployment.reason_of(second), deployment.reason_of(first)] == ["API_KEY_INVALID", ""]


async def test_the_last_use_is_noted_once_a_minute_at_most(deployment: Deployment, store: Store) -> None:
    store.manual_now_ms = 1_000_000
    await deployment.key_cache.refresh()
    used_id, used = await deployment.create()
    await deployment.create()
    await deployment.key_cache.note_used()
    assert await deployment.keys.used() == {}
    for now_ms in (1_000_000, 1_010_000):
        store.manual_now_ms = now_ms
        assert deployment.reason_of(used) == ""
        await deployment.key_cache.note_used()
        assert await deployment.keys.used() == {used_id: 1_000_000}


async def test_a_use_that_is_noted_late_does_not_set_the_last_use_back(deployment: Deployment) -> None:
    await deployment.keys.note_used({"key_1": 2_000})
    await deployment.keys.note_used({"key_1": 1_000, "key_2": 500})
    assert await deployment.keys.used() == {"key_1": 2_000, "key_2": 500}


async def test_only_the_usual_spelling_of_a_header_is_cached(deployment: Deployment) -> None:
    """Only the usual spelling of each header is cached: otherwise callers could fill the memory."""
    await deployment.key_cache.refresh()
    _, header = await deployment.create()
    secret = header.removeprefix(b"Bearer ")
    for spaces in range(1, 100):
        assert deployment.reason_of(b"bearer" + b" " * spaces + secret) == ""
    assert deployment.reason_of(header) == ""
    assert len(deployment.authorizer._by_header) == 1


async def test_more_keys_than_every_server_can_hold_are_refused(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("canuse_server.api.services.api_keys.MAX_API_KEYS", 2)
    await deployment.create()
    await deployment.create()
    with pytest.raises(ApiError) as caught:
        await deployment.create()
    assert caught.value.reason.name == "TOO_MANY_API_KEYS"


async def test_a_server_that_has_seen_keys_does_not_open_again_when_they_are_gone(
    deployment: Deployment, database: Database
) -> None:
    """After FLUSHALL anybody on the machine could create the first key with keys:admin, and with it all others."""
    await deployment.key_cache.refresh()
    _, first = await deployment.create()
    database.empty()
    await deployment.key_cache.refresh()
    assert [deployment.reason_of(None), deployment.reason_of(first)] == ["API_KEY_MISSING", "API_KEY_INVALID"]
    assert not deployment.authorizer.is_open
    create = "/canuse.v1.ApiKeyService/CreateApiKey"
    assert reason_of(lambda: deployment.authorizer.authorize(create, None)) == "API_KEY_MISSING"


@pytest.mark.parametrize("never_required", [False, True])
async def test_a_server_that_is_started_where_only_the_keys_are_gone_lets_nobody_make_one(
    deployment: Deployment, database: Database, never_required: bool
) -> None:
    """It admitted everybody on its machine, although the version of the keys showed that there had been some."""
    await deployment.create()
    database.redis.delete(API_KEYS)
    started = Deployment(deployment.keys.store, never_required=never_required)
    await started.key_cache.refresh()
    assert started.reason_of(None) == ("" if never_required else "API_KEY_MISSING")
    create = "/canuse.v1.ApiKeyService/CreateApiKey"
    assert reason_of(lambda: started.authorizer.authorize(create, None)) == "API_KEY_MISSING"
    with pytest.raises(ApiError, match="so this call needs one"):
        await started.create(None)


async def test_where_no_keys_are_demanded_making_them_demands_one_also_when_they_are_gone(
    store: Store, database: Database
) -> None:
    deployment = Deployment(store, never_required=True)
    await deployment.key_cache.refresh()
    await deployment.create()
    database.empty()
    await deployment.key_cache.refresh()
    assert deployment.reason_of(None) == ""
    create = "/canuse.v1.ApiKeyService/CreateApiKey"
    assert reason_of(lambda: deployment.authorizer.authorize(create, None)) == "API_KEY_MISSING"


async def test_keys_of_a_store_that_went_back_in_time_hold_though_their_number_is_the_same(
    deployment: Deployment, database: Database
) -> None:
    """The equal number hid that the keys were others: removed ones were accepted, and new ones were not."""
    await deployment.key_cache.refresh()
    _, first = await deployment.create()
    before = {key: database.redis.dump(key) for key in (API_KEYS, API_KEYS_VERSION)}
    _, second = await deployment.create()
    for key, value in before.items():
        database.redis.restore(key, 0, value, replace=True)  # type: ignore[arg-type]
    sibling = Deployment(deployment.keys.store)
    await sibling.key_cache.refresh()
    _, third = await sibling.create()
    await deployment.key_cache.refresh()
    assert [deployment.reason_of(header) for header in (first, second, third)] == ["", "API_KEY_INVALID", ""]


HALF_A_PAIR = (
    b'{"id":"key_0","name":"\\ud800","environment":"live","scopes":["keys:admin"],"created_at_ms":1,"expires_at_ms":null,'
    b'"sha256":"00"}'
)
GARBAGE = [b"", b"{", b"[]", b"null", b'{"id":"key_1"}', b"\xff", HALF_A_PAIR]


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_a_key_that_can_not_be_read_neither_opens_nor_hides_the_others(
    deployment: Deployment, database: Database, garbage: bytes
) -> None:
    """One unreadable key made every refresh fail: revoked keys stayed valid."""
    database.redis.hset(API_KEYS, "key_0", garbage)
    await deployment.key_cache.refresh()
    assert deployment.reason_of(None) == "API_KEY_MISSING"
    with pytest.raises(ApiError, match="so this call needs one"):
        await deployment.create(None)
    key_id, created = await deployment.create()
    _, other = await deployment.create()
    await deployment.servicer.revoke_api_key(v1.RevokeApiKeyRequest(api_key_id=key_id), deployment.context())
    assert [deployment.reason_of(created), deployment.reason_of(other)] == ["API_KEY_INVALID", ""]
    listed = await deployment.servicer.list_api_keys(v1.ListApiKeysRequest(), deployment.context())
    assert len(listed.api_keys) == 1
    assert database.call("HGET", API_KEYS, "key_0") == garbage


async def test_no_first_key_is_made_where_there_is_one_that_can_not_be_read(
    deployment: Deployment, database: Database
) -> None:
    database.redis.hset(API_KEYS, "key_0", b"{")
    before = database.contents()
    await create_first_key(deployment.keys)
    assert database.contents() == before


async def test_scopes_and_environments_of_a_newer_version_give_nothing_and_are_shown(
    deployment: Deployment, database: Database
) -> None:
    """A key of an unknown environment counted as one of `test`, and listing the keys was an internal error."""
    await deployment.key_cache.refresh()
    _, admin = await deployment.create()
    kept: dict[str, Any] = json.loads(next(iter(database.call("HVALS", API_KEYS))))
    newer: list[dict[str, Any]] = [{"scopes": ["catalog:read", "billing:write"]}, {"environment": "staging"}]
    for number, changes in enumerate(newer):
        secret = f"sk_live_{number}"
        document = {**kept, "id": f"key_{number}", "sha256": digest(secret.encode()).hex(), "extra": 1, **changes}
        database.redis.hset(API_KEYS, f"key_{number}", json.dumps(document))
    database.redis.delete(API_KEYS_VERSION)
    await deployment.key_cache.refresh()
    get = "/canuse.v1.CatalogService/GetFeature"
    authorize = deployment.authorizer.authorize
    reasons = [reason_of(lambda: authorize(get, f"Bearer sk_live_{n}".encode())) for n in range(2)]  # noqa: B023
    assert reasons == ["", "SCOPE_MISSING"]
    assert [deployment.reason_of(b"Bearer sk_live_0"), deployment.reason_of(admin)] == ["SCOPE_MISSING", ""]
    listed = await deployment.servicer.list_api_keys(v1.ListApiKeysRequest(), deployment.context())
    shown = {key.id: (list(key.scopes), key.environment) for key in listed.api_keys}
    assert shown["key_0"] == (["billing:write", "catalog:read"], LIVE)
    assert shown["key_1"][1] == v1.ENVIRONMENT_UNSPECIFIED


async def test_a_change_that_was_made_is_not_reported_as_one_that_was_not(
    deployment: Deployment, database: Database
) -> None:
    """The store became unavailable after it had made the change: the caller was told that nothing was written."""

    async def unavailable() -> None:
        raise StoreUnavailableError("it went away")

    deployment.servicer = ApiKeyServicer(deployment.keys, unavailable)
    with pytest.raises(OutcomeUnknownError):
        await deployment.create()
    assert database.redis.hlen(API_KEYS) == 1
