"""Kana's own client for web pages, `@usekana/client-kana-js`, in a real browser."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from canuse import v1
from support.authenticated_server import PUBLISHABLE_KEYS, AuthenticatedServer, authenticated_server
from support.browser import Site
from support.npm import PACKAGES, Npm
from support.processes import Canuse
from support.resources import binary, consumable, package, unique

if TYPE_CHECKING:
    from playwright.async_api import Page

TOKEN = "mutation m($userId: String!) { generateUserToken(userId: $userId) { token } }"


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that requires keys, and that the pages of the site may call."""
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0", "CANUSE_HTTP_CORS_ORIGINS": site.origin, **PUBLISHABLE_KEYS}
    with authenticated_server(Canuse(tmp_path_factory.mktemp("kana"), env=env)) as server:
        yield server


@pytest.fixture(scope="module")
def path(npm: Npm, site: Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a page with the client."""
    output = tmp_path_factory.mktemp("bundle") / "kana_client.js"
    return site.add("kana-client", npm.bundle(PACKAGES / "kana_client.ts", output))


class Caller:
    """Kana's client in a page."""

    def __init__(self, page: "Page") -> None:
        self._page = page

    async def open(self, **config: str) -> None:
        """Create the client."""
        await self._page.evaluate("config => openKana(config)", config)

    async def call(self, name: str, feature_id: str = "") -> Any:
        """Call a method of the client; return its data or its error."""
        return await self._page.evaluate("args => callKana(...args)", [name, feature_id])

    async def reset_cache(self) -> Any:
        """Ask the server anew; return the errors that the client has told so far."""
        return await self._page.evaluate("() => resetKana()")


@pytest.fixture
async def caller(page: "Page", site: Site, path: str) -> Caller:
    """The client in a page."""
    await page.goto(site.origin + path)
    return Caller(page)


async def test_a_page_knows_what_its_user_has_until_it_asks_anew(server: AuthenticatedServer, caller: Caller) -> None:
    user_id, other_id = unique("user"), unique("user")
    with server.client() as client:
        feature_id, switch_id = consumable(client), binary(client)
        entries = [v1.PackageFeature(feature_id=feature_id, limit=2), v1.PackageFeature(feature_id=switch_id)]
        base = package(client, entries)
        for each in (user_id, other_id):
            client.create_user(each)
            client.subscribe(each, [base])
        client.create_usage_event(user_id, feature_id)
        endpoint = f"{server.canuse.http_url}/client/graphql"
        for config in credentials(server, user_id):
            await caller.open(endpoint=endpoint, **config)
            used = {"budget": 2, "used": 1}
            assert await caller.call("canUseFeature", feature_id) == {"data": {"access": True, "consumption": used}}
            assert (await caller.call("canUseFeature", switch_id))["data"]["access"] is True
            assert await caller.call("canUseFeature", "nothing") == {"data": {"access": False}}
            features = (await caller.call("getSubscribedFeatures"))["data"]
            assert [(each["id"], each["type"], each["entitlement"]["access"]) for each in features] == [
                (feature_id, "CONSUMABLE", True),
                (switch_id, "BINARY", True),
            ]
            packages = {"data": [{"id": base, "name": base, "isAddon": False}]}
            assert await caller.call("getSubscribedPackages") == packages
            client.create_usage_event(user_id, feature_id)
            assert (await caller.call("canUseFeature", feature_id))["data"]["access"] is True
            assert await caller.reset_cache() == []
            used = {"budget": 2, "used": 2}
            assert await caller.call("canUseFeature", feature_id) == {"data": {"access": False, "consumption": used}}
            client.create_usage_event(user_id, feature_id, -1)


def credentials(server: AuthenticatedServer, user_id: str) -> Iterator[dict[str, str]]:
    """Yield the credentials with which a page may ask about a user."""
    yield {"apiKey": server.publishable_key(), "userId": user_id}
    headers = {"authorization": server.admin}
    body = {"query": TOKEN, "variables": {"userId": user_id}}
    made = httpx.post(f"{server.canuse.http_url}/graphql", json=body, headers=headers).json()
    yield {"userToken": made["data"]["generateUserToken"]["token"]}


async def test_errors_reach_the_page_with_their_texts(server: AuthenticatedServer, caller: Caller) -> None:
    endpoint = f"{server.canuse.http_url}/client/graphql"
    await caller.open(endpoint=endpoint, apiKey="pub_live_x", userId="u1")
    answer = await caller.call("canUseFeature", "f1")
    assert answer["error"].startswith("Unauthenticated: ")
    assert await caller.reset_cache() == [answer["error"], answer["error"]]
    await caller.open(endpoint=endpoint, userToken="utk_x")
    assert (await caller.call("getSubscribedPackages"))["error"].startswith("Unauthenticated: ")
    await caller.open(endpoint=endpoint, apiKey=server.admin, userId="nobody")
    assert "user 'nobody' does not exist" in (await caller.call("getSubscribedFeatures"))["error"]


async def test_a_page_of_another_origin_gets_nothing(
    server: AuthenticatedServer, page: "Page", site: Site, path: str
) -> None:
    await page.goto(site.other_origin + path)
    caller = Caller(page)
    await caller.open(endpoint=f"{server.canuse.http_url}/client/graphql", apiKey=server.admin, userId="u1")
    assert await caller.call("getSubscribedPackages") == {"error": "Network request failed"}
