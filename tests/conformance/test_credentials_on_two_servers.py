"""Publishable keys and user tokens on two servers with one store, of which one allows publishable keys."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from redis import Redis

from canuse import CanuseError, InvalidArgument, PermissionDenied, v1
from canuse_server.store.keys import SIGNING_KEYS
from support.authenticated_server import LIVE, PUBLISHABLE_KEYS, SCOPES, TEST
from support.load import running, wait_until
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.resources import subscriber


class Servers(NamedTuple):
    """Clients of an admin on both servers."""

    first: Canuse
    """The server that allows publishable keys."""
    second: Canuse
    secret: str

    def client(self, server: Canuse, secret: str = "") -> Client:
        """Return a client of a server, by default of the admin."""
        return Client(server.address, api_key=secret or self.secret)


@pytest.fixture(scope="module")
def servers(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Two servers that demand credentials."""
    with ExitStack() as stack:
        first, second = (
            Canuse(tmp_path_factory.mktemp(name), "--redis-url", f"{redis.url}/7", env=env)
            for name, env in (("first", PUBLISHABLE_KEYS), ("second", {}))
        )
        for server in (first, second):
            stack.enter_context(running(server))
        with Client(first.address) as client:
            secret = client.create_api_key("admin", SCOPES, environment=LIVE).secret
        yield Servers(first, second, secret)


def outcome(client: Client, user_id: str, feature_id: str) -> str:
    """Return the reason with which a check fails, empty if it succeeds."""
    try:
        client.can_use(user_id, feature_id)
    except CanuseError as error:
        return error.reason
    return ""


def test_a_token_is_valid_and_revoked_on_all_servers_at_once(servers: Servers) -> None:
    with servers.client(servers.first) as admin:
        user_id, feature_id = subscriber(admin, 5)
        for _ in range(3):
            with servers.client(servers.second, admin.generate_user_token(user_id).token) as client:
                assert outcome(client, user_id, feature_id) == ""
                admin.revoke_user_tokens(user_id)
                assert outcome(client, user_id, feature_id) == "USER_TOKEN_INVALID"


async def test_a_publishable_key_is_created_and_accepted_only_where_the_setting_allows_it(servers: Servers) -> None:
    kind = v1.API_KEY_TYPE_PUBLISHABLE
    with servers.client(servers.second) as admin:
        await wait_until(lambda: outcome(admin, "u", "f") == "FEATURE_NOT_FOUND")
        with pytest.raises(PermissionDenied) as caught:
            admin.create_api_key("page", environment=LIVE, type=kind)
        assert caught.value.reason == "PUBLISHABLE_KEYS_NOT_ALLOWED"
        assert [key.name for key in admin.list_api_keys()] == ["admin"]
    with servers.client(servers.first) as admin:
        user_id, feature_id = subscriber(admin, 5)
        created = [admin.create_api_key("page", environment=each, type=kind) for each in (LIVE, TEST)]
        assert [each.secret[:8] for each in created] == ["pk_live_", "pk_test_"]
        assert {each.api_key.type for each in created} == {kind}
        assert {tuple(each.api_key.scopes) for each in created} == {("entitlements:read",)}
        assert {key.name: key.type for key in admin.list_api_keys()} == {"admin": v1.API_KEY_TYPE_SECRET, "page": kind}
        with servers.client(servers.first, created[0].secret) as page:
            assert outcome(page, user_id, feature_id) == ""
        with servers.client(servers.second, created[0].secret) as page:
            await wait_until(lambda: outcome(page, user_id, feature_id) == "PUBLISHABLE_KEYS_NOT_ALLOWED")
        admin.revoke_api_key(created[0].api_key.id)
        with servers.client(servers.first, created[0].secret) as page:
            assert outcome(page, user_id, feature_id) == "API_KEY_INVALID"


def test_a_publishable_key_has_no_other_scope_and_a_key_no_unknown_type(servers: Servers) -> None:
    with servers.client(servers.first) as admin:
        for scopes, kind, field in (
            (SCOPES, v1.API_KEY_TYPE_PUBLISHABLE, "api_key.scopes[1]"),
            (("entitlements:read",), 3, "api_key.type"),
            ((), v1.API_KEY_TYPE_SECRET, "api_key.scopes"),
        ):
            with pytest.raises(InvalidArgument) as caught:
                admin.create_api_key("page", scopes, environment=LIVE, type=kind)  # type: ignore[arg-type]
            assert field in {each.field for each in caught.value.violations}
        named = admin.create_api_key("page", ["entitlements:read"], environment=LIVE, type=v1.API_KEY_TYPE_PUBLISHABLE)
        admin.revoke_api_key(named.api_key.id)
        with pytest.raises(InvalidArgument):
            admin.revoke_api_key(named.secret)


async def test_without_the_signing_keys_all_tokens_end_and_new_ones_can_be_generated(
    servers: Servers, redis: RedisServer
) -> None:
    with servers.client(servers.first) as admin, Redis.from_url(f"{redis.url}/7") as store:
        user_id, feature_id = subscriber(admin, 5)
        before = admin.generate_user_token(user_id).token
        store.delete(SIGNING_KEYS)
        for server in (servers.first, servers.second):
            with servers.client(server, before) as client:
                await wait_until(lambda: outcome(client, user_id, feature_id) == "USER_TOKEN_INVALID")
        assert store.hlen(SIGNING_KEYS) == 1
        after = admin.generate_user_token(user_id).token
        for server in (servers.first, servers.second):
            with servers.client(server, after) as client:
                await wait_until(lambda: outcome(client, user_id, feature_id) == "")
