"""The stock SDKs of OpenFeature in a real browser: a component follows a budget, as docs/openfeature.md shows."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from canuse import v1
from support.authenticated_server import AuthenticatedServer, authenticated_server
from support.browser import Site
from support.documented_code import code_blocks
from support.npm import PACKAGES, Npm
from support.processes import Canuse
from support.resources import Clock, package, unique

if TYPE_CHECKING:
    from playwright.async_api import Page

TYPE_CHECK = ("--noEmit", "--strict", "--jsx", "react-jsx", "--module", "esnext", "--moduleResolution", "bundler")
FEATURE = "messages"
LIMIT = 2


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that demands keys, on the manual clock, which the pages of the site may call."""
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0", "CANUSE_HTTP_CORS_ORIGINS": site.origin}
    canuse = Canuse(tmp_path_factory.mktemp("openfeature"), "--clock", "manual", env=env)
    with authenticated_server(canuse) as server:
        with server.client() as client:
            client.create_feature(FEATURE, type=v1.FEATURE_TYPE_CONSUMABLE)
        yield server


@pytest.fixture(scope="module")
def path(npm: Npm, site: Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a page with the code of the docs."""
    folder = tmp_path_factory.mktemp("bundle")
    [code] = code_blocks("docs/openfeature.md", "tsx")
    documented = folder / "documented.tsx"
    documented.write_text(code, encoding="utf-8")
    (folder / "node_modules").symlink_to(npm.node_modules)
    npm.run("tsc", *TYPE_CHECK, documented, cwd=folder)
    output = npm.bundle(PACKAGES / "openfeature.tsx", folder / "openfeature.js", f"--alias:documented={documented}")
    return site.add("openfeature", output, '<div id="page"></div>')


async def test_a_component_is_there_while_there_is_budget(
    server: AuthenticatedServer, page: "Page", site: Site, path: str
) -> None:
    statuses: list[int] = []
    page.on("response", lambda response: statuses.append(response.status))
    user = unique("user")
    button, upgrade = page.get_by_role("button", name="Send a message"), page.get_by_text("Upgrade to send more.")
    with server.client() as client:
        entry = v1.PackageFeature(feature_id=FEATURE, limit=LIMIT, reset_period=v1.RESET_PERIOD_DAY)
        client.create_user(user)
        client.subscribe(user, [package(client, [entry])])
        await page.goto(site.origin + path)
        token = client.generate_user_token(user, ttl=timedelta(days=7)).token
        await page.evaluate("args => show(...args)", [server.canuse.http_url, user, token])
        await button.wait_for()
        # The page asks again and again, and is told that nothing has changed.
        await page.wait_for_event("response", lambda response: response.status == 304)
        client.create_usage_event(user, FEATURE, LIMIT)
        await upgrade.wait_for()
        assert await button.count() == 0
        details = await page.evaluate("details('messages')")
        assert (details["value"], details["variant"], details["reason"]) == (
            False,
            "BUDGET_EXCEEDED",
            "TARGETING_MATCH",
        )
        assert details["flagMetadata"]["used"] == details["flagMetadata"]["budget"] == LIMIT
        clock = Clock(server.canuse.address, server.admin)
        clock.advance(days=1)
        clock.close()
        await button.wait_for()
        assert await upgrade.count() == 0
    assert (await page.evaluate("details('unknown')"))["errorCode"] == "FLAG_NOT_FOUND"
    assert set(statuses) <= {200, 204, 304}


async def test_a_page_with_the_token_of_another_user_gets_the_defaults(
    server: AuthenticatedServer, page: "Page", site: Site, path: str
) -> None:
    user, other = unique("user"), unique("user")
    with server.client() as client:
        client.create_user(user)
        client.create_user(other)
        token = client.generate_user_token(other).token
    await page.goto(site.origin + path)
    failed = await page.evaluate(
        "args => show(...args).then(() => null, error => String(error))", [server.canuse.http_url, user, token]
    )
    assert failed is not None
    assert (await page.evaluate("details('messages')"))["value"] is True
