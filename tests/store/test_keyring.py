"""The keys in a server's memory, on a real store, with nothing that follows it in the background."""

from collections.abc import Callable

import pytest

from canuse import v1
from canuse_server.api.api_keys import ApiKeyServicer
from canuse_server.api.errors import ApiError
from canuse_server.api.rate_limit_rules import RateLimitRules
from canuse_server.api.world import Worlds
from canuse_server.auth.gate import Gate
from canuse_server.auth.keyring import Keyring
from canuse_server.store.api_keys import ApiKeys
from canuse_server.store.client import Store
from canuse_server.store.usage import Retention
from support.guarded import LIVE, SCOPES

CAN_USE = "/canuse.v1.EntitlementService/CanUse"


class Site:
    """What a server has of keys."""

    def __init__(self, store: Store) -> None:
        self.worlds = Worlds.of(store, Retention(3_600_000, 3_600_000, 3), "", RateLimitRules(), RateLimitRules())
        self.keys = ApiKeys(store)
        self.gate = Gate(self.worlds, never_demand=False, open_without_keys=True)
        self.keyring = Keyring(self.keys, self.gate)
        self.servicer = ApiKeyServicer(self.keys, self.keyring.refresh)

    async def create(self) -> tuple[str, bytes]:
        """Make a key; return its id, and the header with its secret."""
        key = v1.ApiKey(name="n", environment=LIVE, scopes=SCOPES)
        made = await self.servicer.create_api_key(v1.CreateApiKeyRequest(api_key=key), self.worlds.live)
        return made.api_key.id, f"Bearer {made.secret}".encode()

    def why(self, header: bytes | None) -> str:
        """Return why a call may not pass, or nothing."""
        return why(lambda: self.gate.admit(CAN_USE, header))


@pytest.fixture
def site(store: Store) -> Site:
    """A server's keys, on an empty store."""
    return Site(store)


def why(call: Callable[[], object]) -> str:
    """Return the reason for which a call fails, or nothing."""
    try:
        call()
    except ApiError as error:
        return error.reason.name
    return ""


def test_nobody_passes_before_the_keys_have_been_read(site: Site) -> None:
    assert site.why(None) == "STORE_UNAVAILABLE"
    assert site.why(b"Bearer sk_live_1") == "STORE_UNAVAILABLE"
    assert not site.gate.is_open


async def test_a_change_holds_here_before_who_made_it_hears_of_it(site: Site) -> None:
    await site.keyring.refresh()
    assert site.why(None) == ""
    _, first = await site.create()
    assert [site.why(None), site.why(first)] == ["API_KEY_MISSING", ""]
    key_id, second = await site.create()
    assert site.why(second) == ""
    await site.servicer.revoke_api_key(v1.RevokeApiKeyRequest(api_key_id=key_id), site.worlds.live)
    assert [site.why(second), site.why(first)] == ["API_KEY_INVALID", ""]


async def test_the_last_use_is_noted_once_a_minute_at_most(site: Site, store: Store) -> None:
    store.manual_now_ms = 1_000_000
    await site.keyring.refresh()
    used_id, used = await site.create()
    await site.create()
    await site.keyring.note_used()
    assert await site.keys.used() == {}
    for now_ms in (1_000_000, 1_010_000):
        store.manual_now_ms = now_ms
        assert site.why(used) == ""
        await site.keyring.note_used()
        assert await site.keys.used() == {used_id: 1_000_000}


async def test_a_use_that_is_noted_late_does_not_put_the_last_one_back(site: Site) -> None:
    await site.keys.note_used({"key_1": 2_000})
    await site.keys.note_used({"key_1": 1_000, "key_2": 500})
    assert await site.keys.used() == {"key_1": 2_000, "key_2": 500}


async def test_all_that_can_be_spelled_is_not_remembered(site: Site) -> None:
    """Only the usual spelling of each key: else callers could fill the memory."""
    await site.keyring.refresh()
    _, header = await site.create()
    secret = header.removeprefix(b"Bearer ")
    for spaces in range(1, 100):
        assert site.why(b"bearer" + b" " * spaces + secret) == ""
    assert site.why(header) == ""
    assert len(site.gate._by_header) == 1


async def test_more_keys_than_every_server_can_hold_are_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("canuse_server.api.api_keys.KEYS_AT_MOST", 2)
    await site.create()
    await site.create()
    with pytest.raises(ApiError) as caught:
        await site.create()
    assert caught.value.reason.name == "TOO_MANY_API_KEYS"
