"""/docs in a real browser: every method is there and can be called, by the keyboard alone as well."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

import pytest

from support.authenticated_server import AuthenticatedServer, authenticated_server
from support.npm import PACKAGES
from support.processes import Canuse
from support.resources import subscriber, unique

if TYPE_CHECKING:
    from playwright.async_api import ConsoleMessage, Locator, Page

CONTRAST: Final = (PACKAGES / "contrast.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that demands keys."""
    canuse = Canuse(tmp_path_factory.mktemp("docs"), env={"CANUSE_HTTP_LISTEN": "127.0.0.1:0"})
    with authenticated_server(canuse) as server:
        yield server


async def opened(page: "Page", server: AuthenticatedServer, method: str) -> "Locator":
    """Open the page at a method; return what is shown of that."""
    complaints: list[str] = []

    def note(message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    page.on("console", note)
    await page.goto(f"{server.canuse.http_url}/docs#{method}")
    shown = page.locator(f"details[id='{method}']")
    await shown.get_by_role("button", name="Send").wait_for()
    # A policy that is broken is an error on the console.
    assert complaints == []
    return shown


async def test_a_method_is_called_by_the_keyboard_alone(server: AuthenticatedServer, page: "Page") -> None:
    with server.client() as client:
        user_id, feature_id = subscriber(client, 5)
    shown = await opened(page, server, "EntitlementService.UseFeature")
    assert await page.evaluate("document.activeElement.tagName") == "SUMMARY"
    await page.keyboard.press("Tab")
    await page.keyboard.press("Control+A")
    await page.keyboard.type(json.dumps({"userId": user_id, "featureId": feature_id}))
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    status, answer = shown.get_by_role("status"), shown.get_by_label("Answer")
    await status.filter(has_text="Status 401").wait_for()
    assert "API_KEY_MISSING" in await answer.inner_text()
    # Its long lines are broken, so that nobody has to scroll aside to read them.
    await page.set_viewport_size({"width": 375, "height": 800})
    assert await answer.evaluate("(node) => node.scrollWidth <= node.clientWidth")
    await page.get_by_label("API key or user token").fill(server.admin)
    await shown.get_by_role("textbox").press("Control+Enter")
    await status.filter(has_text="Status 200").wait_for()
    assert json.loads(await answer.inner_text())["consumption"]["used"] == "1"
    with server.client() as client:
        assert client.show_usage(user_id, feature_id).current.used == 1


async def test_a_stream_is_shown_message_by_message_and_so_is_its_error(
    server: AuthenticatedServer, page: "Page"
) -> None:
    package_id = unique("package")
    with server.client() as client:
        client.create_package(package_id)
        client.publish_package(package_id)
    shown = await opened(page, server, "CatalogService.MigrateSubscriptions")
    await page.get_by_label("API key or user token").fill(server.admin)
    status, answer = shown.get_by_role("status"), shown.get_by_label("Answer")
    for package, outcome in ((package_id, "Status 200"), ("unknown", "Failed")):
        await shown.get_by_role("textbox").fill(json.dumps({"packageId": package}))
        await shown.get_by_role("button", name="Send").click()
        await status.filter(has_text=outcome).wait_for()
    assert "PACKAGE_NOT_FOUND" in await answer.inner_text()


async def test_every_method_is_there_and_can_be_found(server: AuthenticatedServer, page: "Page") -> None:
    shown = await opened(page, server, "EntitlementService.CanUse")
    listed = await page.locator("main > section > details > summary > h3").all_inner_texts()
    assert {"CanUse", "ListUsers", "CreateApiKey", "ShouldRateLimit"} <= set(listed)
    find = page.get_by_role("searchbox", name="Find a method")
    await find.fill("lease extends")
    await page.get_by_text("1 found").wait_for()
    assert await page.locator("main > section > details:visible > summary > h3").all_inner_texts() == ["ExtendLease"]
    await find.fill("")
    # What a request contains is there with its comments, to any depth.
    await shown.locator("dt", has_text="reason").wait_for()
    await shown.locator("dd details", has_text="Reason").first.locator("summary").click()
    await page.get_by_text("Offer an upgrade, or wait until").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_can_be_read(
    server: AuthenticatedServer, page: "Page", scheme: Literal["light", "dark"]
) -> None:
    await page.emulate_media(color_scheme=scheme)
    shown = await opened(page, server, "EntitlementService.CanUse")
    await shown.get_by_role("button", name="Send").click()
    await shown.get_by_role("status").filter(has_text="Status 401").wait_for()
    assert await page.evaluate(CONTRAST) == []
    # Narrow windows are not scrolled sideways.
    await page.set_viewport_size({"width": 360, "height": 700})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
