"""Making and revoking API keys in the console: the secret is seen once, by whoever has made the key."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis

from canuse import v1
from support.authenticated_server import SCOPES, TEST, AuthenticatedServer, authenticated_server
from support.console import Parsed, Visitor
from support.console_forms import Sent, audited, done, fields, wrong_fields
from support.load import running, until
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.resources import unique
from support.store_inspection import StoreInspector

Visitors = Callable[[str], Visitor]
HTTP = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}


def secrets_in(text: str) -> set[str]:
    """Return the secrets of API keys that a page shows."""
    return set(re.findall(r"[sp]k_(?:live|test)_[0-9a-zA-Z]{20,}", text))


def test_a_key_is_made_once_and_its_secret_is_shown_once_and_in_no_address(
    server: AuthenticatedServer, visitor: Visitor, visitors: Visitors, client: Client, admin_key: str
) -> None:
    form, name = Sent(visitor, "/keys/new"), unique("key")
    typed = {"name": name, "scope:users:write": "on", "expires_at": "2099-01-01T00:00"}
    answer = form.send(**typed)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    [secret] = secrets_in(answer.text)
    assert not any(secret in str(address) for address in (answer.url, *Parsed(answer.text).attributes("a", "href")))
    again = form.send(**typed)
    assert (again.status_code, secrets_in(again.text), "sent before" in again.text) == (409, set(), True)
    [made] = [key for key in client.list_api_keys() if key.name == name]
    assert (list(made.scopes), made.expires_at.ToJsonString()) == (["users:write"], "2099-01-01T00:00:00Z")
    assert secrets_in(visitor.get("/keys").text) == set()
    # The key is good for what its scopes say.
    other = visitors(secret)
    assert (other.get("/users").status_code, other.get("/keys").status_code) == (200, 403)
    [entry] = [each for each in audited(client, "CreateApiKey") if each.api_key_id == made.id]
    assert entry.caller_key_id == admin_key
    form = Sent(visitor, "/keys/revoke", id=made.id)
    assert name in form.text
    for _ in range(2):
        done(form.send(), "key-revoked")
    until(lambda: other.get("/users").status_code == 303)
    [entry] = [each for each in audited(client, "RevokeApiKey") if each.api_key_id == made.id]
    assert entry.caller_key_id == admin_key


def test_of_two_clicks_at_the_same_moment_one_makes_a_key(visitor: Visitor, client: Client) -> None:
    form, name = Sent(visitor, "/keys/new"), unique("key")
    with ThreadPoolExecutor(6) as pool:
        clicks = [pool.submit(form.send, **{"name": name, "scope:users:write": "on"}) for _ in range(6)]
        answers = [click.result() for click in clicks]
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409, 409]
    assert len([key for key in client.list_api_keys() if key.name == name]) == 1


def test_a_key_that_is_refused_can_be_corrected(visitor: Visitor, client: Client) -> None:
    form, name = Sent(visitor, "/keys/new"), unique("key")
    answer = form.send(name=name)
    assert (answer.status_code, wrong_fields(answer)) == (400, ["scope:entitlements:read"])
    form.fields = fields(answer.text)
    assert form.fields["name"] == name
    answer = form.send(**{"expires_at": "2001-01-01T00:00", "scope:users:write": "on"})
    assert (answer.status_code, wrong_fields(answer)) == (400, ["expires_at"])
    form.fields = fields(answer.text)
    assert form.fields["scope:users:write"] == "on"
    answer = form.send(expires_at="")
    assert (answer.status_code, len(secrets_in(answer.text))) == (200, 1)
    assert len([key for key in client.list_api_keys() if key.name == name]) == 1


def test_a_publishable_key_is_refused_beside_its_field_where_the_server_allows_none(tmp_path: Path) -> None:
    with authenticated_server(Canuse(tmp_path, env=HTTP)) as server:
        visitor = Visitor(server.canuse.http_url)
        visitor.log_in(server.admin)
        answer = Sent(visitor, "/keys/new").send(name="page", type="API_KEY_TYPE_PUBLISHABLE")
        assert (answer.status_code, wrong_fields(answer)) == (403, ["type"])
        visitor.close()


def test_the_last_key_of_an_administrator_stays(server: AuthenticatedServer, visitor: Visitor, admin_key: str) -> None:
    answer = Sent(visitor, "/keys/revoke", id=admin_key).send()
    assert (answer.status_code, "keys:admin" in answer.text) == (400, True)
    assert visitor.get("/keys").status_code == 200
    assert visitor.get("/keys/revoke", id="key_0000").status_code == 404


def test_the_first_key_is_made_here_too_and_ends_the_access_of_everybody(tmp_path: Path, redis: RedisServer) -> None:
    options = ("--redis-url", f"{redis.url}/11")
    with running(Canuse(tmp_path, *options, env=HTTP)) as canuse, Redis(port=redis.port, db=11) as store:
        visitor = Visitor(canuse.http_url)
        # A visitor without a session gets a cookie with the first page.
        visitor.get("/keys")
        form = Sent(visitor, "/keys/new")
        assert "from then on everybody needs one" in form.text
        answer = form.send(name="first", **{f"scope:{scope}": "on" for scope in SCOPES})
        [secret] = secrets_in(answer.text)
        assert secret.encode() not in StoreInspector(store).everything()
        until(lambda: visitor.get("/users").status_code == 303)
        assert visitor.log_in(secret).status_code == 303
        visitor.close()


def test_a_key_of_test_makes_keys_of_test_alone(server: AuthenticatedServer, visitors: Visitors) -> None:
    testing = visitors(server.key(environment=TEST).secret)
    form = Sent(testing, "/keys/new")
    assert form.fields["environment"] == "ENVIRONMENT_TEST"
    assert form.send(name="x", environment="ENVIRONMENT_LIVE", **{"scope:users:write": "on"}).status_code == 403
    assert secrets_in(form.send(name="x", **{"scope:users:write": "on"}).text) == set()
    [secret] = secrets_in(Sent(testing, "/keys/new").send(name="x", **{"scope:users:write": "on"}).text)
    assert secret.startswith("sk_test_")


@pytest.mark.parametrize("path", ["/keys/new", "/keys/revoke"])
def test_only_administrators_make_and_revoke_keys(
    server: AuthenticatedServer, visitor: Visitor, visitors: Visitors, client: Client, path: str
) -> None:
    key = server.key([scope for scope in SCOPES if scope != "keys:admin"])
    other = visitors(key.secret)
    query = {"id": key.api_key.id}
    assert other.get(path, **query).status_code == 403
    count = len(list(client.list_api_keys()))
    data = {"name": "x", "scope:keys:admin": "on", "environment": v1.Environment.Name(TEST)}
    refused = other.http.post(f"/console{path}", params=query, data={"token": other.token(), **data})
    assert (refused.status_code, "SCOPE_MISSING" in refused.text) == (403, True)
    form = Sent(visitor, path, **query)
    for token in ("", other.token()):
        assert form.send(token=token).status_code == 403
    assert len(list(client.list_api_keys())) == count
