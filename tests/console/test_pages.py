"""The pages of the console: what they show, to whom, and that nothing in them is taken for markup."""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from canuse import v1
from support.authenticated_server import SCOPES, TEST, AuthenticatedServer
from support.console import Parsed, Visitor
from support.load import running
from support.message_clients import Client
from support.processes import SHORT_STORE_TIMEOUT, Canuse, RedisServer
from support.resources import Clock, grant, subscriber, unique
from support.tools import tool

Visitors = Callable[[str], Visitor]
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "../../x?y=1&z=%2F#f",
    "..",
    "/",
    "{{ 7 * 7 }}{% endfor %}",
    "ü\u202e 用户 🙂",
    "x" * 128,
    "a  b &amp; c",
)
USER_PAGES = ("/user", "/user/usage", "/user/events", "/user/why")
READS = {
    "/users": "UserService/ListUsers",
    "/user?id=124": "",
    "/user/usage?id=124&feature=messages": "UsageService/ShowUsage",
    "/user/events?id=124": "UsageService/ListUsageEvents",
    "/user/why?id=124&feature=messages": "EntitlementService/CanUse",
    "/features": "CatalogService/ListFeatures",
    "/feature?id=messages": "CatalogService/ListFeatures",
    "/packages": "CatalogService/ListFeatures",
    "/package?id=pro": "CatalogService/ListFeatures",
    "/keys": "ApiKeyService/ListApiKeys",
    "/audit": "ApiKeyService/ListApiKeys",
    "/server": "ApiKeyService/ListApiKeys",
}
"""Pages with the method that each cannot do without; empty where it shows what its visitor may see."""
ALL_PAGES = ("", "/login", *READS, "/nowhere")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


def allowed(scopes: set[str], method: str) -> bool:
    """Whether some scopes permit a method of the pages, as docs/api.md says."""
    needed = {
        "UserService/ListUsers": {"catalog:read", "users:write", "catalog:write"},
        "UsageService/ShowUsage": {"entitlements:read"},
        "UsageService/ListUsageEvents": {"entitlements:read"},
        "EntitlementService/CanUse": {"entitlements:read"},
        "CatalogService/ListFeatures": {"catalog:read"},
        "ApiKeyService/ListApiKeys": {"keys:admin"},
    }
    return not method or bool(scopes & needed[method])


@pytest.mark.parametrize("path", ALL_PAGES)
def test_every_page_is_shown_by_the_server_alone_and_loads_its_own_files_only(visitor: Visitor, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status_code == (404 if path == "/nowhere" else 200)
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    page = Parsed(answer.text)
    loaded = [*page.attributes("script", "src"), *page.attributes("link", "href"), *page.attributes("img", "src")]
    assert len(loaded) >= 3
    for address in loaded:
        assert address.startswith("/console/assets/")
        assert visitor.http.get(address).status_code == 200
    assert {tag for tag, _ in page.elements} & {"style", "iframe", "object", "base"} == set()
    assert all(attributes.get("src") for tag, attributes in page.elements if tag == "script")
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in names if name == "style" or name.startswith("on")}
    assert "sk_" not in answer.text.replace("sk_live_…", "")


def test_the_first_page_is_small(visitor: Visitor) -> None:
    page = Parsed(visitor.get("/user", id="124").text)
    loaded = [*page.attributes("script", "src"), *page.attributes("link", "href")]
    sizes = {address: len(visitor.http.get(address).content) for address in loaded}
    assert sum(sizes.values()) + len(visitor.get("/user", id="124").content) < 150_000
    assert sum(size for address, size in sizes.items() if ".js" in address) < 32_000


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_text_that_callers_choose_is_shown_as_it_is(visitor: Visitor, client: Client, hostile: str) -> None:
    clean = Parsed(visitor.get("/user", id="124").text)
    text = " ".join(hostile.split())
    client.create_user(hostile, name=hostile, email=hostile, billing_id=hostile, metadata={hostile[:64]: hostile})
    client.create_feature(hostile, type=v1.FEATURE_TYPE_CONSUMABLE, name=hostile, unit_label=hostile[:32])
    client.create_package(hostile, [v1.PackageFeature(feature_id=hostile, limit=5)], name=hostile)
    client.publish_package(hostile)
    client.subscribe(hostile, [hostile])
    client.create_grant(hostile, hostile, hostile, amount=1, note=hostile)
    client.use_feature(hostile, hostile, 1, event_id=hostile, metadata={hostile[:64]: hostile})
    pages = {path: visitor.page(path, id=hostile, feature=hostile) for path in USER_PAGES}
    pages |= {path: visitor.page(path, id=hostile) for path in ("/feature", "/package")}
    pages |= {"/audit": visitor.page("/audit", user=hostile)}
    pages |= {"/users": visitor.page("/users", id_prefix=hostile)}
    pages |= {path: visitor.page(path) for path in ("/features", "/packages")}
    for path, page in pages.items():
        assert text in page.text, path
        tags = {tag for tag, _ in page.elements}
        assert page.attributes("img", "src") == clean.attributes("img", "src")
        assert page.attributes("script", "src") == clean.attributes("script", "src")
        assert not tags & {"style", "iframe", "object", "base"}
        assert not {name for _, attributes in page.elements for name in attributes if name.startswith("on")}
        assert hostile in page.attributes("button", "data-copy")
    # The list leads to the user.
    link = f"/console/user?{urlencode({'id': hostile})}"
    assert link in pages["/users"].attributes("a", "href")
    assert hostile in Parsed(visitor.http.get(link).text).attributes("button", "data-copy")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_is_looked_for_and_not_there_is_named_as_it_is(visitor: Visitor, hostile: str) -> None:
    unknown = hostile[:100] + "?"
    answer = visitor.get("/user", id=unknown)
    assert answer.status_code == 404
    assert "USER_NOT_FOUND" in answer.text
    for other in (answer, visitor.get("/users", id_prefix=unknown), visitor.get("/user/why", id=unknown, feature="x")):
        assert "<script>alert" not in other.text
        assert "onerror" not in {name for _, attributes in Parsed(other.text).elements for name in attributes}


@pytest.mark.parametrize("scope", SCOPES)
def test_what_a_key_does_not_permit_is_not_offered_and_refused_all_the_same(
    server: AuthenticatedServer, visitors: Visitors, scope: str
) -> None:
    visitor = visitors(server.key([scope]).secret)
    titles = {
        "Users": "UserService/ListUsers",
        "Features": "CatalogService/ListFeatures",
        "Packages": "CatalogService/ListFeatures",
        "API keys": "ApiKeyService/ListApiKeys",
        "Audit log": "ApiKeyService/ListApiKeys",
        "Server": "ApiKeyService/ListApiKeys",
    }
    assert visitor.pages() == ["Home", *(title for title, method in titles.items() if allowed({scope}, method))]
    for path, method in READS.items():
        answer = visitor.get(path)
        assert (path, answer.status_code) == (path, 200 if allowed({scope}, method) else 403)
        if answer.status_code == 403:
            assert "SCOPE_MISSING" in answer.text
    user = visitor.page("/user", id="124")
    sections = {"Entitlements": "entitlements:read", "Subscriptions": "catalog:read users:write catalog:write"}
    for title, scopes in sections.items():
        assert (title in user.text) is (scope in scopes.split())
    assert ("Manual clock" in user.text) is (scope == "keys:admin")
    moved = visitor.post("/clock", seconds="1")
    assert moved.status_code == (303 if scope == "keys:admin" else 403)


def test_a_key_for_test_sees_test_alone_and_it_looks_different(
    server: AuthenticatedServer, visitors: Visitors, visitor: Visitor
) -> None:
    key = server.key(environment=TEST)
    testing = visitors(key.secret)
    with server.client(key.secret) as client:
        client.create_user(user_id := unique("user"))
    assert user_id in testing.get("/users").text
    assert "124" not in testing.page("/users").text
    assert testing.get("/user", id="124").status_code == 404
    assert visitor.get("/user", id=user_id).status_code == 404
    for each, environment in ((testing, "test"), (visitor, "live")):
        page = each.page("")
        assert page.attributes("html", "class") == [environment]
        assert f"canuse {environment} " in page.text


def test_users_are_found_by_their_beginning_email_and_billing_id_and_listed_in_pages(
    visitor: Visitor, client: Client
) -> None:
    prefix = unique("many")
    ids = {f"{prefix}-{number:03}" for number in range(60)}
    for user_id in ids:
        client.create_user(user_id, email=f"{user_id}@example.com", billing_id=f"bill-{user_id}")
    one = f"{prefix}-042"
    for query in ({"id_prefix": one}, {"email": f"{one}@example.com"}, {"billing_id": f"bill-{one}"}):
        page = visitor.page("/users", **query)
        assert [each for each in page.attributes("button", "data-copy") if each in ids] == [one]
        assert next(iter(query.values())) in page.attributes("input", "value")
    seen: list[str] = []
    answer = visitor.get("/users", id_prefix=prefix)
    while True:
        page = Parsed(answer.text)
        seen += [each for each in page.attributes("button", "data-copy") if each in ids]
        following = [href for tag, each in page.elements if each.get("rel") == "next" and (href := each["href"])]
        if not following:
            break
        answer = visitor.http.get(following[0])
    assert sorted(seen) == sorted(ids)
    assert "No user matches" in visitor.page("/users", id_prefix=unique("nobody")).text


def test_a_user_is_shown_with_what_is_used_reserved_and_beyond_the_budget(visitor: Visitor, client: Client) -> None:
    user_id, feature_id = subscriber(client, 100, v1.RESET_PERIOD_DAY, overage_enabled=True)
    client.use_feature(user_id, feature_id, 30)
    lease_id = client.reserve(user_id, feature_id, 20, ttl=timedelta(minutes=5)).lease_id
    page = visitor.page("/user", id=user_id)
    assert "30 of 100 used 20 reserved" in page.text
    assert "in 5 min" in page.text
    assert lease_id in page.attributes("button", "data-copy")
    assert "50 left · overage allowed · resets in 1 d" in page.text
    client.create_usage_event(user_id, feature_id, 1200)
    page = visitor.page("/user", id=user_id)
    assert "1,230 of 100 used 20 reserved 1,130 overage" in page.text
    assert "1,230 of 100 used, 20 reserved, 1,130 beyond the budget" in page.attributes("svg", "aria-label")
    assert re.search(r"Yes\s+Overage", page.text)
    parts = [each for _, each in page.elements if each.get("class") in ("used", "overage", "reserved")]
    widths = [float((each["width"] or "").removesuffix("%")) for each in parts]
    assert widths == [8.0, 90.4, 1.6]
    usage = visitor.page("/user/usage", id=user_id, feature=feature_id)
    assert "Reserved 20 Overage 1,130 (allowed)" in usage.text


def test_past_periods_and_sources_are_shown(server: AuthenticatedServer, visitor: Visitor, client: Client) -> None:
    user_id, feature_id = subscriber(client, 10, v1.RESET_PERIOD_DAY)
    gift = grant(client, user_id, feature_id, 5)
    client.use_feature(user_id, feature_id, 12)
    assert visitor.post("/clock", seconds="86400", back=f"/console/user?id={user_id}").status_code == 303
    client.use_feature(user_id, feature_id, 3)
    page = visitor.page("/user/usage", id=user_id, feature=feature_id)
    assert "3 of 13" in page.text
    assert gift in page.text
    # Used, budget, from grants, overage.
    assert "12 10 2 0" in page.text
    titles = [each.get("class") for tag, each in page.elements if tag == "rect"]
    assert titles.count("hover") == 2


def test_events_are_listed_filtered_and_added_up_by_day(visitor: Visitor, client: Client) -> None:
    user_id, feature_id = subscriber(client, None)
    for number in range(60):
        client.create_usage_event(user_id, feature_id, 2, event_id=f"event-{number}", metadata={"n": str(number)})
    page = visitor.page("/user/events", id=user_id)
    assert page.text.count("+2") == 50
    assert "60 events" in page.text
    assert "n=59" in page.text
    [older] = [each["href"] for _, each in page.elements if each.get("rel") == "next"]
    assert older is not None
    assert Parsed(visitor.http.get(older).text).text.count("+2") == 10
    assert "120 units" in visitor.page("/user/events", id=user_id, feature=feature_id).text
    assert "No events." in visitor.page("/user/events", id=user_id, feature=feature_id, to="2020-01-01").text
    assert visitor.get("/user/events", id=user_id, to="yesterday").status_code == 400


def test_why_shows_every_step_for_any_amount(visitor: Visitor, client: Client) -> None:
    user_id, feature_id = subscriber(client, 10)
    client.use_feature(user_id, feature_id, 4)
    for amount, verdict in (("6", "Yes Within budget"), ("7", "No Budget exceeded"), ("1,000", "No Budget exceeded")):
        page = visitor.page("/user/why", id=user_id, feature=feature_id, amount=amount)
        assert verdict in page.text
        explained = client.can_use(user_id, feature_id, int(amount.replace(",", "")), explain=True).explanation.steps
        assert len(explained) >= 5
        for step in explained:
            assert step.text in page.text
    for amount, problem in (("x", "whole number"), ("1.5", "whole number"), ("-1", "delta"), ("9" * 17, "delta")):
        answer = visitor.get("/user/why", id=user_id, feature=feature_id, amount=amount)
        assert (answer.status_code, problem in answer.text) == (400, True)
    assert visitor.get("/user/why", id=user_id, feature="unknown").status_code == 404


def test_the_manual_clock_is_moved_and_the_page_is_at_that_moment(
    server: AuthenticatedServer, visitor: Visitor, client: Client
) -> None:
    user_id, feature_id = subscriber(client, 1, v1.RESET_PERIOD_DAY)
    client.use_feature(user_id, feature_id, 1)
    here = f"/console/user/why?id={user_id}&feature={feature_id}"
    assert "No Budget exceeded" in Parsed(visitor.http.get(here).text).text
    moved = visitor.post("/clock", seconds="86400", back=here)
    assert (moved.status_code, moved.headers["location"]) == (303, here)
    assert "Yes Within budget" in Parsed(visitor.http.get(here).text).text
    clock = Clock(server.canuse.address, server.admin)
    assert visitor.post("/clock", time="2030-01-31T12:00").status_code == 303
    assert clock.now().isoformat() == "2030-01-31T12:00:00+00:00"
    for name, wrong in (("time", "2029-01-01T00:00"), ("time", "soon"), ("seconds", "x"), ("seconds", "-5")):
        assert visitor.post("/clock", None, **{name: wrong}).status_code == 400
    clock.close()


def test_a_feature_is_shown_with_its_packages_and_who_uses_it_most(visitor: Visitor, client: Client) -> None:
    first, feature_id = subscriber(client, 100, overage_enabled=True)
    [package_id] = {each.package_id for each in client.list_subscriptions(first)}
    others = [unique("user") for _ in range(12)]
    for number, user_id in enumerate(others):
        client.create_user(user_id)
        client.subscribe(user_id, [package_id])
        client.use_feature(user_id, feature_id, number + 1)
    client.create_usage_event(first, feature_id, 130)
    page = visitor.page("/feature", id=feature_id)
    assert "130 100 30" in page.text
    shown = [each for each in page.attributes("button", "data-copy") if each.startswith("user-")]
    assert shown == [first, *reversed(others[3:])]
    assert "208 used by 13 users in their current periods." in page.text
    assert "100 a month, then overage" in page.text
    assert package_id in page.attributes("button", "data-copy")
    assert visitor.get("/feature", id="unknown").status_code == 404


def test_a_thousand_features_are_shown_in_pages(visitor: Visitor, client: Client) -> None:
    prefix = unique("bulk")
    ids = [f"{prefix}-{number:04}" for number in range(1000)]
    entries = [v1.PackageFeature(feature_id=feature_id, limit=5) for feature_id in ids]
    kind = v1.FEATURE_TYPE_CONSUMABLE
    for part in range(0, 1000, 250):
        features = [v1.Feature(id=feature_id, type=kind, name="Bulk") for feature_id in ids[part : part + 250]]
        client.apply_catalog(features)
    client.create_package(prefix, entries)
    client.publish_package(prefix)
    client.create_user(prefix)
    client.subscribe(prefix, [prefix])
    for path, query in (("/features", {}), ("/user", {"id": prefix})):
        seen: list[str] = []
        answer = visitor.get(path, **query)
        while True:
            page = Parsed(answer.text)
            found = [each for each in page.attributes("button", "data-copy") if each in ids]
            assert len(answer.content) < 100_000
            seen += found
            following = [href for _, each in page.elements if each.get("rel") == "next" and (href := each["href"])]
            if not following:
                break
            answer = visitor.http.get(following[0])
        assert sorted(seen) == ids
    assert len(visitor.get("/package", id=prefix).text) < 700_000


def test_the_versions_of_a_package_are_shown_side_by_side_with_their_differences(
    visitor: Visitor, client: Client
) -> None:
    kept, changed, dropped, added = (unique(name) for name in ("kept", "changed", "dropped", "added"))
    for feature_id in (changed, dropped, added):
        client.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
    client.create_feature(kept, type=v1.FEATURE_TYPE_BINARY)
    package_id = unique("package")

    def entry(feature_id: str, limit: int | None = None) -> v1.PackageFeature:
        return v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=v1.RESET_PERIOD_DAY)

    client.create_package(package_id, [v1.PackageFeature(feature_id=kept), entry(changed, 5), entry(dropped)])
    client.publish_package(package_id)
    client.update_package(package_id, features=[v1.PackageFeature(feature_id=kept), entry(changed, 7), entry(added, 1)])
    page = visitor.page("/package", id=package_id)
    assert "Latest version 2 Draft New subscriptions get version 1" in page.text
    assert "Versions 1 and 2" in page.text
    rows = (
        f"{kept} Copy {kept} included included",
        f"{changed} Copy {changed} 5 a day 7 a day changed",
        f"{added} Copy {added} not in it 1 a day added",
        f"{dropped} Copy {dropped} unlimited not in it removed",
    )
    assert all(row in page.text for row in rows), page.text
    reversed_page = visitor.page("/package", id=package_id, version="1", against="2")
    assert f"{changed} Copy {changed} 7 a day 5 a day changed" in reversed_page.text
    assert "changed" not in visitor.page("/package", id=package_id, version="1", against="1").text.replace(changed, "")
    for version, status in (("3", 404), ("x", 400), ("-1", 400)):
        assert visitor.get("/package", id=package_id, version=version).status_code == status


def test_api_keys_are_listed_without_secrets(server: AuthenticatedServer, visitor: Visitor, client: Client) -> None:
    created = server.key(["usage:write"], environment=TEST)
    page = visitor.get("/keys").text
    assert created.api_key.id in page
    assert created.secret not in page
    assert "yours" in page
    text = Parsed(page).text
    assert f"{created.api_key.id} Copy {created.api_key.id} test usage:write never" in text


def test_the_audit_log_is_shown_filtered_and_has_what_the_console_did(
    server: AuthenticatedServer, visitors: Visitors, visitor: Visitor, client: Client
) -> None:
    user_id, feature_id = subscriber(client, 5)
    gift = grant(client, user_id, feature_id, 1)
    client.update_user(user_id, name="Ada")
    page = visitor.page("/audit", user=user_id)
    assert "Ada" not in page.text
    for text in ("CreateUser", "Subscribe", "CreateGrant", "UpdateUser", gift, feature_id, "name"):
        assert text in page.text
    only = visitor.page("/audit", user=user_id, method="CreateGrant")
    assert "UpdateUser" not in only.attributes("span", "title")
    assert "Subscribe" not in only.text
    assert "No changes." in visitor.page("/audit", user=user_id, to="2020-01-01").text
    assert visitor.get("/audit", **{"from": "soon"}).status_code == 400
    key = server.key()
    assert visitors(key.secret).post("/clock", seconds="1").status_code == 303
    done = visitor.page("/audit", key=key.api_key.id)
    assert "AdvanceTime" in done.text
    assert key.api_key.id in done.attributes("button", "data-copy")
    # More than a page.
    for number in range(51):
        client.update_user(user_id, name=f"Ada {number}")
    first = visitor.page("/audit", user=user_id, method="UpdateUser")
    [older] = [each["href"] for _, each in first.elements if each.get("rel") == "next"]
    assert older is not None
    assert visitor.http.get(older).text.count("<tr>") == 1 + 2


def test_the_server_page_has_the_settings_but_no_password(tmp_path: Path, redis: RedisServer) -> None:
    redis.command("ACL", "SETUSER", "console", "on", ">a-secret-word", "~*", "&*", "+@all")
    url = f"redis://console:a-secret-word@{redis.host}:{redis.port}/8"
    with running(Canuse(tmp_path, "--redis-url", url, env={"CANUSE_HTTP_LISTEN": "127.0.0.1:0"})) as canuse:
        visitor = Visitor(canuse.http_url)
        answer = visitor.get("/server")
        text = Parsed(answer.text).text
        assert "a-secret-word" not in answer.text
        assert f"{redis.host}:{redis.port}" in text
        assert "durability memory" in text
        assert re.search(r"(Valkey|Redis) \d+\.\d+\.\d+ master", text)
        visitor.close()


def test_refusals_are_counted_by_reason(visitor: Visitor, client: Client) -> None:
    user_id, feature_id = subscriber(client, 1)
    for _ in range(3):
        client.use_feature(user_id, feature_id, 2)
    assert re.search(r"Budget exceeded \d+ \d+", visitor.page("").text)
    assert visitor.http.get("/console", params={"user": "a/b"}).headers["location"] == "/console/user?id=a%2Fb"


def test_a_page_shows_how_a_program_gets_the_same(server: AuthenticatedServer, visitor: Visitor) -> None:
    page = visitor.get("/user", id="124").text
    commands = [unescape(code) for code in re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", page, re.DOTALL)]
    assert {command.split()[0] for command in commands} == {"grpcurl", "curl"}
    programs = {"curl": tool("curl"), "grpcurl": tool("grpcurl")}
    ran = []
    for command in commands:
        # The key is in the environment, not on the page.
        words = [word.replace("$CANUSE_API_KEY", server.admin) for word in shlex.split(command.replace("\\\n", ""))]
        completed = subprocess.run([programs[words[0]], *words[1:]], capture_output=True, text=True, check=False)
        assert completed.returncode == 0, (command, completed.stderr)
        ran.append(completed.stdout)
    assert sum('"starter"' in output for output in ran) >= 2


@pytest.mark.parametrize(("path", "status"), [("/users?page_token=x", 400), ("/nowhere", 404), ("/user", 400)])
def test_an_error_is_a_page_that_says_what_to_do(visitor: Visitor, path: str, status: int) -> None:
    answer = visitor.get(path)
    assert answer.status_code == status
    assert "<main" in answer.text
    assert answer.headers["content-security-policy"] == POLICY


def test_a_page_is_read_with_get(visitor: Visitor) -> None:
    refused = visitor.post("/users")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert visitor.http.head("/console/users").status_code == 200
    assert visitor.http.get("/console/clock").status_code == 405


def test_a_page_does_nothing_by_being_opened_also_with_a_default_package(tmp_path: Path) -> None:
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0", "CANUSE_DEFAULT_PACKAGE": "starter"}
    with running(Canuse(tmp_path, "--demo", env=env)) as canuse, Client(canuse.address) as client:
        visitor = Visitor(canuse.http_url)
        before = [user.id for user in client.list_users()]
        for path in USER_PAGES:
            assert visitor.get(path, id="nobody", feature="messages").status_code == 404
        assert [user.id for user in client.list_users()] == before
        visitor.close()


@pytest.fixture
def without_store(tmp_path: Path, redis: RedisServer) -> Iterator[tuple[Canuse, RedisServer]]:
    """A server without keys whose store can be taken away."""
    store = RedisServer(redis.program, tmp_path / "store").start()
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0", **SHORT_STORE_TIMEOUT}
    with running(Canuse(tmp_path, "--demo", "--redis-url", store.url, env=env)) as canuse:
        yield canuse, store
    store.stop()


def test_while_the_store_is_unavailable_the_pages_say_so(without_store: tuple[Canuse, RedisServer]) -> None:
    canuse, store = without_store
    with httpx.Client(base_url=canuse.http_url, timeout=60) as http:
        with store.paused():
            answer = http.get("/console/user?id=124")
            assert (answer.status_code, "STORE_UNAVAILABLE" in answer.text) == (503, True)
            assert http.get("/console").status_code == 200
        assert "Try again" in answer.text or "Retry" in answer.text
