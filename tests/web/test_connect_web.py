"""`@connectrpc/connect-web` in a real browser, with code generated from protos/."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.browser import Site
from support.load import running
from support.message_clients import Client
from support.npm import PACKAGES, Npm
from support.processes import Canuse
from support.resources import subscriber

if TYPE_CHECKING:
    from playwright.async_api import Page


@pytest.fixture(scope="module")
def canuse(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server that the pages of the site may call."""
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0", "CANUSE_HTTP_CORS_ORIGINS": site.origin}
    with running(Canuse(tmp_path_factory.mktemp("web"), env=env)) as canuse:
        yield canuse


@pytest.fixture(scope="module")
def path(npm: Npm, site: Site, generated: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a page with the client."""
    output = tmp_path_factory.mktemp("bundle") / "connect_web.js"
    return site.add(
        "connect-web", npm.bundle(PACKAGES / "connect_web.ts", output, f"--alias:canuse={generated}/canuse")
    )


async def test_a_page_asks_whether_a_user_may_use_a_feature(
    canuse: Canuse, page: "Page", site: Site, path: str
) -> None:
    with Client(canuse.address) as client:
        user, feature = subscriber(client, limit=5)
        client.create_usage_event(user, feature, 2)
    await page.goto(site.origin + path)
    answer = await page.evaluate("args => canUse(...args)", [canuse.http_url, user, feature])
    assert answer == {"access": True, "reason": "WITHIN_BUDGET", "used": "2"}
