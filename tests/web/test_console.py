"""The console in a real browser: by clicking, by the keyboard alone, without JavaScript, and what axe finds.

With UPDATE_SCREENSHOTS=1 the pictures of docs/console.md and the README are taken anew.
"""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest
import pytest_asyncio

from canuse import v1
from support.authenticated_server import AuthenticatedServer, authenticated_server
from support.load import running
from support.message_clients import Client
from support.npm import Npm
from support.processes import Canuse
from support.resources import Clock, subscriber
from support.tools import ROOT

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Page

HTTP: Final = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
IMAGES: Final = ROOT / "docs" / "images"
MAX_IMAGE_BYTES: Final = 150_000
START: Final = datetime(2030, 5, 1, 9, 30, tzinfo=UTC)
DAYS: Final = 20
USER: Final = "ada"
LONG: Final = {kind: f"{kind}-{'0123456789' * 12}" for kind in ("user", "feature", "package", "grant")}
"""Ids that are almost as long as they may be, and nowhere to be broken."""
PAGES: Final = {
    "home": "",
    "users": "/users",
    "user": f"/user?id={USER}",
    "all": f"/user?id={USER}&all=1",
    "usage": f"/user/usage?id={USER}&feature=messages",
    "events": f"/user/events?id={USER}&feature=messages",
    "why": f"/user/why?id={USER}&feature=exports&amount=5",
    "features": "/features",
    "feature": "/feature?id=messages",
    "packages": "/packages",
    "package": "/package?id=team",
    "keys": "/keys",
    "audit": f"/audit?user={USER}",
    "server": "/server",
    "publish": "/package/publish?id=team",
    "losses": "/package/losses?id=team",
    "long user": f"/user?id={LONG['user']}",
    "long usage": f"/user/usage?id={LONG['user']}&feature={LONG['feature']}",
    "long events": f"/user/events?id={LONG['user']}",
    "long why": f"/user/why?id={LONG['user']}&feature={LONG['feature']}",
    "long feature": f"/feature?id={LONG['feature']}",
    "long package": f"/package?id={LONG['package']}",
    "long audit": f"/audit?user={LONG['user']}",
    "problem": "/user?id=nobody",
    "nothing": "/users?id_prefix=nobody",
}
WIDER_THAN: Final = """
(width) => [...document.querySelectorAll("main *")]
  .filter((node) => node.getBoundingClientRect().right > width && !node.closest(".scroll"))
  .map((node) => node.outerHTML.slice(0, 200))
"""
"""Returns the elements that make a page wider than a window."""
SERIOUS: Final = ("serious", "critical")
PHONE: Final = 375


def counted(feature_id: str, name: str, unit: str) -> dict[str, Any]:
    """Return the properties of a consumable feature."""
    return {
        "feature_id": feature_id,
        "name": name,
        "type": v1.FEATURE_TYPE_CONSUMABLE,
        "unit_label": unit,
        "unit_label_plural": f"{unit}s",
    }


def entry(feature_id: str, limit: int | None, period: v1.ResetPeriod.ValueType, **more: bool) -> v1.PackageFeature:
    """Return an entry of a package."""
    return v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=period, **more)


def fill(client: Client, clock: Clock) -> None:
    """Create what the pages show: a user who has used much for some days, and others."""
    clock.set(START - timedelta(days=DAYS))
    client.create_feature(**counted("messages", "Messages", "message"))
    client.create_feature(**counted("exports", "Exports", "export"))
    client.create_feature(**counted("storage", "Storage", "GB"))
    client.create_feature("sso", type=v1.FEATURE_TYPE_BINARY, name="Single sign-on")
    client.create_feature("audit", type=v1.FEATURE_TYPE_BINARY, name="Audit log")
    day, month = v1.RESET_PERIOD_DAY, v1.RESET_PERIOD_MONTH
    team = [
        entry("messages", 400, day, overage_enabled=True),
        entry("exports", 10, month),
        entry("storage", 50, v1.RESET_PERIOD_NEVER),
        v1.PackageFeature(feature_id="sso"),
    ]
    client.create_package("team", team, name="Team")
    client.publish_package("team")
    client.create_package("starter", [entry("messages", 50, day)], name="Starter")
    client.publish_package("starter")
    for number, name in enumerate(("ada", "grace", "katherine", "mary", "dorothy", "hedy", "joan", "radia")):
        client.create_user(name, name=name.title(), email=f"{name}@example.com", billing_id=f"cus_{number:04}")
        client.subscribe(name, ["team" if number < 3 else "starter"])
    client.create_grant(USER, "welcome", "exports", amount=2, note="for the long wait")
    for number in range(DAYS):
        client.create_usage_event(USER, "messages", 120 + 37 * (number * number % 13))
        client.use_feature("grace", "messages", 30 + 9 * number)
        clock.set(START - timedelta(days=DAYS - 1 - number))
    client.create_usage_event(USER, "messages", 463)
    client.use_feature(USER, "exports", 8)
    client.use_feature(USER, "storage", 21)
    client.reserve(USER, "storage", 12)
    for _ in range(7):
        client.can_use("mary", "sso")
        client.can_use(USER, "exports", 5)
    client.create_feature(**counted(LONG["feature"], "Name" * 60, "unit" * 60))
    client.create_package(LONG["package"], [entry(LONG["feature"], 2**53 - 1, month)], name="Name" * 60)
    client.publish_package(LONG["package"])
    client.create_user(LONG["user"], name="Name" * 60, email="mail" * 60, metadata={"key" * 40: "value" * 60})
    client.subscribe(LONG["user"], [LONG["package"]])
    client.create_grant(LONG["user"], LONG["grant"], LONG["feature"], amount=2**52, note="note" * 60)
    client.create_usage_event(LONG["user"], LONG["feature"], 2**50, metadata={"key" * 40: "value" * 60})
    client.reserve(LONG["user"], LONG["feature"], 2**49)
    changed = [entry("messages", 600, day, overage_enabled=True), *team[1:3], v1.PackageFeature(feature_id="audit")]
    client.update_package("team", features=changed)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that demands keys, on the manual clock, with something to show."""
    canuse = Canuse(tmp_path_factory.mktemp("console"), "--clock", "manual", env=HTTP)
    with authenticated_server(canuse) as server, server.client() as client:
        clock = Clock(canuse.address, server.admin)
        fill(client, clock)
        clock.close()
        yield server


def complaints_of(page: "Page") -> list[str]:
    """Return a list that grows with what the browser complains about: a broken policy, a script that fails."""
    complaints: list[str] = []

    def note(message: "ConsoleMessage") -> None:
        # A status of an error is the answer that the page is about.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    page.on("console", note)
    return complaints


async def log_in(page: "Page", server: AuthenticatedServer, path: str = "") -> None:
    """Log in by the form."""
    await page.goto(f"{server.canuse.http_url}/console{path}")
    await page.get_by_label("API key").fill(server.admin)
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("button", name="Log out").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious_and_no_page_is_wider_than_a_phone(
    server: AuthenticatedServer, page: "Page", npm: Npm, scheme: Literal["light", "dark"]
) -> None:
    axe = (npm.node_modules / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    complaints = complaints_of(page)
    await page.emulate_media(color_scheme=scheme)
    await page.goto(f"{server.canuse.http_url}/console/login")
    found = {"login": await problems(page, axe)}
    await log_in(page, server)
    for name, path in PAGES.items():
        await page.set_viewport_size({"width": 1200, "height": 800})
        await page.goto(f"{server.canuse.http_url}/console{path}")
        found[name] = await problems(page, axe)
        await page.set_viewport_size({"width": PHONE, "height": 700})
        wide = await page.evaluate(WIDER_THAN, PHONE)
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE, (name, wide)
    assert {name: each for name, each in found.items() if each} == {}
    assert complaints == []


async def problems(page: "Page", axe: str) -> list[str]:
    """Return what axe finds on a page, as far as it is serious."""
    await page.evaluate(axe)
    result = await page.evaluate("axe.run()")
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in result["violations"] if each["impact"] in SERIOUS
    ]


async def test_an_id_is_copied_with_a_click(server: AuthenticatedServer, page: "Page") -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await log_in(page, server, PAGES["user"])
    await page.get_by_role("button", name=f"Copy {USER}", exact=True).click()
    await page.get_by_text(f"Copied {USER}").wait_for()
    assert await page.evaluate("navigator.clipboard.readText()") == USER


async def test_by_the_keyboard_alone(server: AuthenticatedServer, page: "Page") -> None:
    await page.goto(f"{server.canuse.http_url}/console/user?id={USER}")
    assert await page.evaluate("document.activeElement.name") == "api_key"
    await page.keyboard.type(server.admin)
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Entitlements").wait_for()
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "main"
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Users"
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Users").wait_for()
    # Every element that can be used is reached, and is seen to have the focus.
    await page.goto(f"{server.canuse.http_url}/console{PAGES['why']}")
    count = await page.locator("a:visible, button:visible, input:visible, summary:visible").count()
    for _ in range(count):
        await page.keyboard.press("Tab")
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", await page.evaluate("document.activeElement.outerHTML")


@pytest_asyncio.fixture
async def plain_page(browser: "Browser") -> "AsyncIterator[Page]":
    """A page of a browser without JavaScript."""
    async with await browser.new_context(java_script_enabled=False) as context:
        yield await context.new_page()


async def test_without_javascript(server: AuthenticatedServer, plain_page: "Page") -> None:
    await log_in(plain_page, server, PAGES["usage"])
    await plain_page.get_by_role("img", name="463 of 400 used, 63 beyond the budget").wait_for()
    assert await plain_page.locator("figure rect.used:visible").count() == DAYS + 1
    assert await plain_page.locator(".copy:visible").count() == 0
    await plain_page.get_by_text("As a table").click()
    await plain_page.get_by_role("columnheader", name="From grants").wait_for()
    await plain_page.get_by_text("The same with grpcurl or curl").click()
    await plain_page.get_by_text("grpcurl -plaintext").first.wait_for()
    await plain_page.get_by_role("button", name="Log out").click()
    await plain_page.get_by_role("heading", name="Log in").wait_for()


async def test_figures_and_countdowns_go_on_while_a_page_is_open(tmp_path: Path, page: "Page") -> None:
    with running(Canuse(tmp_path, "--demo", env=HTTP)) as canuse, Client(canuse.address) as client:
        await page.goto(f"{canuse.http_url}/console")
        await page.get_by_text("Nothing was refused").wait_for()
        client.can_use("124", "sso")
        await page.get_by_role("row", name="Not entitled").wait_for()
        user_id, feature_id = subscriber(client, 5, v1.RESET_PERIOD_HOUR)
        client.use_feature(user_id, feature_id, 1)
        await page.goto(f"{canuse.http_url}/console/user?id={user_id}")
        countdown = page.locator("time.countdown")
        before = await countdown.inner_text()
        assert before == "1 h" or " min" in before

        async def has_changed() -> bool:
            return await countdown.inner_text() != before

        for _ in range(600):
            if await has_changed():
                break
            await page.wait_for_timeout(100)
        assert await has_changed()


async def take(page: "Page", folder: Path, name: str, *, width: int, height: int | None = None) -> None:
    """Take a picture of a page, as high as it is or as given."""
    await page.set_viewport_size({"width": width, "height": height or 600})
    await page.evaluate("document.activeElement.blur()")
    picture = await page.screenshot(path=folder / name, full_page=height is None, animations="disabled")
    assert len(picture) < MAX_IMAGE_BYTES, name
    if os.environ.get("UPDATE_SCREENSHOTS") == "1":
        IMAGES.mkdir(exist_ok=True)
        shutil.copy(folder / name, IMAGES)


async def test_the_pictures_of_the_docs(server: AuthenticatedServer, page: "Page", tmp_path: Path) -> None:
    await log_in(page, server)
    for name, height in {"home": 560, "user": 790, "usage": 830, "why": 740, "package": 520, "publish": 990}.items():
        await page.goto(f"{server.canuse.http_url}/console{PAGES[name]}")
        await take(page, tmp_path, f"console-{name}.png", width=1100, height=height)
    await page.emulate_media(color_scheme="dark")
    await page.goto(f"{server.canuse.http_url}/console{PAGES['user']}")
    await take(page, tmp_path, "console-phone.png", width=390, height=900)


async def test_from_the_id_to_the_answer_by_clicking(server: AuthenticatedServer, page: "Page") -> None:
    # Last: it moves the clock, which all pages go by.
    complaints = complaints_of(page)
    with server.client() as client:
        user_id, feature_id = subscriber(client, 3, v1.RESET_PERIOD_DAY)
        await log_in(page, server)
        await page.get_by_role("link", name="Users").click()
        await page.get_by_label("Id or its beginning").fill(user_id[:-2])
        await page.get_by_role("button", name="Search").click()
        await page.get_by_role("link", name=user_id).click()
        entitlements = page.get_by_role("region", name="Entitlements")
        await entitlements.get_by_text("Within budget").wait_for()
        client.use_feature(user_id, feature_id, 3)
    await page.reload()
    await entitlements.get_by_text("Budget exceeded").wait_for()
    await entitlements.get_by_role("img", name="3 of 3 used").wait_for()
    await entitlements.get_by_role("link", name=f"Why {feature_id}").click()
    await page.get_by_text("3 used and 1 more make 4, above the budget of 3").wait_for()
    await page.get_by_role("button", name="1 day on").click()
    await page.get_by_text("The answer is yes").wait_for()
    assert complaints == []
