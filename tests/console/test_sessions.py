"""Logging in to the console: the cookie, the session behind it, and how it ends."""

import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from redis import Redis

from support.authenticated_server import LIVE, SCOPES, AuthenticatedServer, authenticated_server
from support.certificates import Authority
from support.console import Visitor
from support.load import running, until
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.resources import Clock
from support.store_inspection import StoreInspector

COOKIE = "canuse_console"
HTTP = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
Visitors = Callable[[str], Visitor]


def cookie(answer: httpx.Response) -> dict[str, str]:
    """Return the parts of the cookie that an answer sets, and its value under an empty name."""
    [line] = [line for line in answer.headers.get_list("set-cookie") if line.startswith(f"{COOKIE}=")]
    parts = [part.strip().partition("=") for part in line.split(";")]
    return {"": parts[0][2], **{name.lower(): value for name, _, value in parts[1:]}}


def is_in(visitor: Visitor) -> bool:
    """Whether a visitor is logged in."""
    answer = visitor.get("/users")
    assert answer.status_code in (200, 303)
    return answer.status_code == 200


def test_who_has_not_logged_in_is_sent_to_the_form_and_then_back(
    server: AuthenticatedServer, visitors: Visitors
) -> None:
    visitor = visitors("")
    for path, target in (("", "/console"), ("/user?id=a%2Fb", "/console/user?id=a%2Fb")):
        sent = visitor.get(path)
        assert sent.status_code == 303
        form = visitor.http.get(sent.headers["location"])
        assert form.status_code == 200
        assert f'value="{target}"' in form.text
        assert visitor.pages() == []
    assert visitor.log_in(server.admin, "/console/user?id=a%2Fb").headers["location"] == "/console/user?id=a%2Fb"


def test_the_cookie_is_for_the_console_alone_and_out_of_the_reach_of_scripts(
    server: AuthenticatedServer, visitors: Visitors
) -> None:
    set_cookie = cookie(visitors("").log_in(server.admin))
    value = set_cookie.pop("")
    assert len(value) == 45
    assert set_cookie == {"path": "/console", "httponly": "", "samesite": "lax", "max-age": "43200"}


def test_the_store_has_neither_the_cookie_nor_the_key_and_forgets_the_session(
    tmp_path: Path, redis: RedisServer
) -> None:
    with (
        authenticated_server(Canuse(tmp_path, "--redis-url", f"{redis.url}/9", env=HTTP)) as server,
        Redis(port=redis.port, db=9) as store,
    ):
        visitor = Visitor(server.canuse.http_url)
        assert visitor.log_in(server.admin).status_code == 303
        value = visitor.http.cookies[COOKIE]
        stored = StoreInspector(store).everything()
        assert b"console_session" in stored
        assert value.encode() not in stored
        assert value[2:].encode() not in stored
        assert server.admin.encode() not in stored
        [session] = store.scan_iter(match="canuse:*console_session*")
        assert 0 < store.ttl(session) <= 12 * 3600
        # The end of the session is the end for whoever has the cookie.
        store.delete(session)
        assert not is_in(visitor)
        visitor.close()


def test_over_tls_the_cookie_is_sent_over_tls_only(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.server()
    options = ("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
    env = {"CANUSE_HTTP_LISTEN": "0.0.0.0:0", "CANUSE_LISTEN": "0.0.0.0:0"}
    trusting = ssl.create_default_context(cafile=authority.path)
    with running(Canuse(tmp_path, *options, env=env)) as canuse:
        visitor = Visitor(canuse.http_url.replace("0.0.0.0", "127.0.0.1"), verify=trusting)
        answer = visitor.log_in(canuse.startup_lines[0].split()[-1])
        assert (answer.status_code, "secure" in cookie(answer)) == (303, True)
        assert is_in(visitor)
        visitor.close()


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"CANUSE_CONSOLE": "false"}, "127.0.0.1"),
        ({}, "0.0.0.0"),
        ({"CANUSE_INSECURE_NO_AUTH": "true"}, "0.0.0.0"),
    ],
)
def test_there_is_no_console_where_it_is_off_or_others_could_listen_or_need_no_key(
    tmp_path: Path, settings: dict[str, str], address: str
) -> None:
    with running(Canuse(tmp_path, env={"CANUSE_HTTP_LISTEN": f"{address}:0", **settings})) as canuse:
        url = canuse.http_url.replace("0.0.0.0", "127.0.0.1")
        for path in ("/console", "/console/login", "/console/assets/console.css", "/console/users"):
            assert httpx.get(url + path).status_code == 404
        assert ("there is no console" in canuse.log) is (address == "0.0.0.0")


def test_with_tls_but_without_keys_there_is_no_console_on_an_address_that_others_reach(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.server()
    options = ("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key), "--insecure-no-auth")
    trusting = ssl.create_default_context(cafile=authority.path)
    with running(Canuse(tmp_path, *options, env={"CANUSE_HTTP_LISTEN": "0.0.0.0:0"})) as canuse:
        url = canuse.http_url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/console", verify=trusting).status_code == 404


def test_without_keys_nobody_logs_in_and_with_the_first_key_everybody_has_to(tmp_path: Path) -> None:
    with running(Canuse(tmp_path, "--demo", env=HTTP)) as canuse, Client(canuse.address) as client:
        visitor = Visitor(canuse.http_url)
        assert is_in(visitor)
        assert "no key needed" in visitor.page("").text
        client.create_api_key("first", SCOPES, environment=LIVE)
        until(lambda: not is_in(visitor))
        visitor.close()


def test_a_key_that_is_wrong_or_cannot_log_in_gets_no_session(
    server: AuthenticatedServer, client: Client, visitors: Visitors
) -> None:
    visitor = visitors("")
    token = client.generate_user_token("124").token
    for secret, status, words in (
        ("sk_live_" + "0" * 64, 401, "unknown"),
        ("", 401, "unknown"),
        ("nonsense \u00e9\u2028", 401, "unknown"),
        (server.publishable_key(), 403, "secret API key"),
        (token, 403, "secret API key"),
    ):
        answer = visitor.log_in(secret)
        assert (answer.status_code, words in answer.text) == (status, True), secret
        assert secret == "" or secret not in answer.text
        assert not is_in(visitor)


def test_a_session_has_a_new_id_and_the_one_before_ends(server: AuthenticatedServer, visitors: Visitors) -> None:
    visitor, thief = visitors(""), visitors("")
    visitor.get("/login")
    before = visitor.http.cookies[COOKIE]
    visitor.log_in(server.admin)
    first = visitor.http.cookies[COOKIE]
    visitor.log_in(server.admin)
    second = visitor.http.cookies[COOKIE]
    assert len({before, first, second}) == 3
    for value, expected in ((before, False), (first, False), (second, True), ("s." + "x" * 43, False), ("", False)):
        thief.http.cookies.clear()
        thief.http.cookies.set(COOKIE, value)
        assert is_in(thief) is expected, value


def test_logging_out_ends_the_session_also_for_a_copy_of_the_cookie(
    server: AuthenticatedServer, visitors: Visitors
) -> None:
    visitor, copy = visitors(server.admin), visitors("")
    copy.http.cookies.set(COOKIE, visitor.http.cookies[COOKIE])
    assert is_in(copy)
    answer = visitor.post("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login")
    assert not is_in(visitor)
    assert not is_in(copy)


def test_the_session_ends_with_its_key(server: AuthenticatedServer, client: Client, visitors: Visitors) -> None:
    clock = Clock(server.canuse.address, server.admin)
    revoked, expiring = server.key(), server.key(expires_at=clock.now() + timedelta(hours=1))
    first, second = visitors(revoked.secret), visitors(expiring.secret)
    assert is_in(first)
    assert is_in(second)
    client.revoke_api_key(revoked.api_key.id)
    until(lambda: not is_in(first))
    answer = second.post("/clock", seconds="3600")
    assert answer.status_code == 303
    assert not is_in(second)
    clock.close()


def test_a_session_is_known_to_all_workers_and_after_a_restart(tmp_path: Path) -> None:
    with authenticated_server(Canuse(tmp_path, "--workers", "2", env={**HTTP, "CANUSE_DEMO": "true"})) as server:
        visitor = Visitor(server.canuse.http_url)
        until(lambda: visitor.log_in(server.admin).status_code == 303)
        session = visitor.http.cookies[COOKIE]

        def is_known_on_each_connection() -> bool:
            # Each connection goes to one of the workers, which learn of a new key within a moment.
            statuses = set()
            for _ in range(20):
                other = Visitor(server.canuse.http_url)
                other.http.cookies.set(COOKIE, session)
                statuses.add(other.get("/users").status_code)
                other.close()
            return statuses == {200}

        until(is_known_on_each_connection)
        visitor.close()
        assert server.canuse.stop() == 0
        server.canuse.start()
        assert is_known_on_each_connection()


@pytest.mark.parametrize("prefix", ["", "Bearer ", "KeyId "])
def test_the_id_of_a_key_is_no_credential_for_anybody_else(server: AuthenticatedServer, prefix: str) -> None:
    """The console's own calls have the id in place of the key, in a type that nothing from outside has."""
    key = server.key()
    headers = {"authorization": f"{prefix}{key.api_key.id}"}
    answer = httpx.post(f"{server.canuse.http_url}/canuse.v1.UserService/ListUsers", json={}, headers=headers)
    assert (answer.status_code, "API_KEY_INVALID" in answer.text) == (401, True)


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example/console",
        "/console@evil.example",
        "/consoles",
        "/canuse.v1.UserService/ListUsers",
        "\\\\evil.example",
        "/console/\r\nset-cookie: a=b",
        "javascript:alert(1)",
        "",
    ],
)
def test_the_form_leads_back_to_pages_of_the_console_only(
    server: AuthenticatedServer, visitors: Visitors, target: str
) -> None:
    answer = visitors("").log_in(server.admin, target)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    assert len(answer.headers.get_list("set-cookie")) == 1


def test_a_form_without_the_token_of_its_visitor_changes_nothing(
    server: AuthenticatedServer, visitors: Visitors
) -> None:
    visitor, other = visitors(server.admin), visitors(server.admin)
    clock = Clock(server.canuse.address, server.admin)
    now = clock.now()
    for token in ("", "0" * 64, other.token(), visitor.token()[:-1], "\u00e9"):
        answer = visitor.http.post("/console/clock", data={"token": token, "seconds": "60"})
        assert (answer.status_code, "out of date" in answer.text) == (403, True)
    answer = visitor.http.post("/console/clock", data={"seconds": "60"})
    assert answer.status_code == 403
    # A token without the cookie that it belongs to.
    stranger = visitors("")
    answer = stranger.http.post("/console/login", data={"token": visitor.token(), "api_key": server.admin})
    assert answer.status_code == 403
    assert clock.now() == now
    assert visitor.post("/clock", seconds="60").status_code == 303
    assert clock.now() == now + timedelta(seconds=60)
    clock.close()


def test_a_page_of_another_site_changes_nothing_even_with_a_token(
    server: AuthenticatedServer, visitors: Visitors
) -> None:
    visitor = visitors(server.admin)
    clock = Clock(server.canuse.address, server.admin)
    now = clock.now()
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert visitor.post("/clock", headers, seconds="60").status_code == 403
    assert clock.now() == now
    clock.close()
    # A link in a mail leads to a page, but no page of another site shows one or loads one.
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert visitor.http.get("/console/user?id=124", headers=link).status_code == 200
    for headers in ({**link, "sec-fetch-dest": "iframe"}, {**link, "sec-fetch-mode": "no-cors"}):
        assert visitor.http.get("/console/user?id=124", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("text/plain", b"token=x", 415),
        ("application/x-www-form-urlencoded", b"a" * 70_000, 400),
        ("application/x-www-form-urlencoded", b"&".join(b"a=1" for _ in range(501)), 400),
        ("application/x-www-form-urlencoded", b"\xff=\xff", 400),
        ("application/x-www-form-urlencoded", b"", 403),
    ],
)
def test_a_form_that_is_none_is_an_error(visitor: Visitor, content_type: str, body: bytes, status: int) -> None:
    answer = visitor.http.post("/console/clock", content=body, headers={"content-type": content_type})
    assert answer.status_code == status
    assert "<main" in answer.text


def test_what_an_api_key_permits_is_asked_at_each_request(server: AuthenticatedServer, visitors: Visitors) -> None:
    """The session has the id of the key only, so nobody else's rights are ever used."""
    reader = visitors(server.key(["entitlements:read"]).secret)
    assert reader.get("/user", id="124").status_code == 200
    refused = reader.post("/clock", seconds="60")
    assert (refused.status_code, "SCOPE_MISSING" in refused.text) == (403, True)
    assert reader.get("/users").status_code == 403
