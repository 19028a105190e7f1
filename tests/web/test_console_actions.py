"""What is done in the console, in a real browser: by clicking alone, with a double click, and without JavaScript."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final

import pytest
import pytest_asyncio

from canuse import v1
from canuse_server.transport.http.console.actions import ACTIONS
from canuse_server.transport.http.console.actions.catalog.migration import Progress
from canuse_server.transport.http.console.sessions import Visitor as Session
from support.authenticated_server import AuthenticatedServer, authenticated_server
from support.migrations import create_subscriber, of, publish, versions
from support.npm import Npm
from support.processes import Canuse
from support.resources import grant, package, subscriber, unique

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Route

HTTP: Final = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
SERIOUS: Final = ("serious", "critical")
SCHEMES: Final = ("light", "dark")
DARK: Final = ("/user/delete", "/package/edit", "/package/publish", "/package/migration")
"""The forms that are looked at in the dark as well: the others have the same parts."""
PHONE: Final = 375


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that demands keys, on the manual clock, with the example data of the README."""
    canuse = Canuse(tmp_path_factory.mktemp("console"), "--demo", "--clock", "manual", env=HTTP)
    with authenticated_server(canuse) as server:
        yield server


@pytest_asyncio.fixture
async def plain_page(browser: "Browser") -> "AsyncIterator[Page]":
    """A page of a browser without JavaScript."""
    async with await browser.new_context(java_script_enabled=False) as context:
        yield await context.new_page()


async def log_in(page: "Page", server: AuthenticatedServer, path: str = "") -> None:
    """Log in by the form."""
    await page.goto(f"{server.canuse.http_url}/console{path}")
    await page.get_by_label("API key").fill(server.admin)
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("button", name="Log out").wait_for()


async def test_the_story_of_the_readme_by_clicking_alone(server: AuthenticatedServer, page: "Page") -> None:
    """Find the id, see yes, use it up, see no and why, move the clock, see yes."""
    await log_in(page, server)
    await page.get_by_role("link", name="Users").click()
    await page.get_by_label("Id or its beginning").fill("12")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("link", name="124", exact=True).click()
    messages = page.get_by_role("region", name="Entitlements").get_by_role("listitem").filter(has_text="Messages")
    await messages.get_by_text("Within budget").wait_for()
    await messages.get_by_text("0 of 5 used").wait_for()
    await page.get_by_role("link", name="Record a use").click()
    await page.get_by_label("Feature").select_option("messages")
    await page.get_by_label("Amount").fill("5")
    await page.get_by_role("button", name="Record").click()
    await page.get_by_text("The use is recorded.").wait_for()
    await messages.get_by_text("Budget exceeded").wait_for()
    # What was done is told once.
    assert "done=" not in page.url
    await page.get_by_role("link", name="Record a use").click()
    await page.get_by_label("Feature").select_option("messages")
    await page.get_by_role("button", name="Record").click()
    await page.get_by_role("alert").get_by_text("Nothing was recorded: budget exceeded").wait_for()
    await page.get_by_role("link", name="Leave it as it is").click()
    await messages.get_by_role("link", name="Why messages").click()
    await page.get_by_text("5 used and 1 more make 6, above the budget of 5").wait_for()
    await page.get_by_role("button", name="1 day on").click()
    await page.get_by_text("The answer is yes").wait_for()
    await page.get_by_role("link", name="Overview").click()
    await messages.get_by_text("0 of 5 used").wait_for()


async def test_a_double_click_does_it_once_and_the_key_is_seen(server: AuthenticatedServer, page: "Page") -> None:
    await log_in(page, server, "/keys/new")
    name = unique("key")
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Scope usage:write").check()
    answered, clicked = asyncio.Event(), asyncio.Event()

    async def hold(route: "Route") -> None:
        # The server has answered the first click when the second one comes, and the browser has not seen it.
        answer = await route.fetch()
        answered.set()
        await clicked.wait()
        await route.fulfill(response=answer)

    await page.route("**/keys/new", hold)
    button = page.get_by_role("button", name="Make the key")
    await button.focus()
    await page.keyboard.press("Enter")
    await answered.wait()
    await page.keyboard.press("Enter")
    clicked.set()
    await page.get_by_text("It is shown only here and only now").wait_for()
    secret = await page.locator(".secret code").inner_text()
    assert secret.startswith("sk_live_")
    await page.get_by_role("link", name="Done").click()
    await page.get_by_role("heading", name="API keys").wait_for()
    assert secret not in await page.content()
    with server.client() as client:
        assert len([key for key in client.list_api_keys() if key.name == name]) == 1


async def test_a_package_is_made_published_and_its_subscribers_moved_by_clicking(
    server: AuthenticatedServer, page: "Page"
) -> None:
    package_id = unique("package")
    await log_in(page, server, "/packages")
    await page.get_by_role("link", name="Create a package").click()
    await page.get_by_label("Id", exact=True).fill(package_id)
    await page.get_by_label("Feature of row 1").fill("messages")
    await page.get_by_label("Limit of row 1").fill("1x")
    # The first button of the form is the one that Enter presses.
    await page.get_by_label("Limit of row 1").press("Enter")
    await page.get_by_text("must be a whole number").wait_for()
    assert await page.evaluate("document.activeElement.name") == "limit.0"
    await page.keyboard.press("Control+A")
    await page.keyboard.type("20")
    await page.get_by_label("Period of row 1").select_option("a day")
    await page.get_by_role("button", name="Create the draft").click()
    await page.get_by_text("The package is created, as a draft.").wait_for()
    await page.get_by_role("link", name="Publish").click()
    await page.get_by_text("Nobody would lose anything.").wait_for()
    await page.get_by_role("button", name="Publish version 1").click()
    await page.get_by_text("The version is published.").wait_for()
    with server.client() as client:
        user_id = create_subscriber(client, package_id)
    await page.get_by_role("link", name="Make the next version").click()
    await page.get_by_label("Limit of row 1").fill("10")
    await page.get_by_role("button", name="Save the draft").click()
    await page.get_by_role("link", name="Publish").click()
    losses = page.get_by_role("region", name="Who would lose what")
    await losses.get_by_role("row", name="messages").first.wait_for()
    row = losses.get_by_role("region", name="Users with what they would lose").get_by_role("row", name=user_id)
    assert [await cell.inner_text() for cell in (await row.get_by_role("cell").all())[2:]] == ["20 a day", "10 a day"]
    await page.get_by_role("button", name="Publish version 2").click()
    await page.get_by_role("link", name="Move subscriptions").click()
    await page.get_by_text("Who would get less", exact=True).click()
    await page.get_by_role("link", name=user_id).wait_for()
    await page.get_by_role("button", name="Move to version 2").click()
    await page.get_by_text("All subscriptions are moved.").wait_for()
    await page.reload()
    await page.get_by_text("1 subscription moved to version 2").wait_for()
    with server.client() as client:
        assert versions(client, user_id) == [2]


async def test_a_migration_goes_on_by_itself_after_a_reload(server: AuthenticatedServer, page: "Page") -> None:
    with server.client() as client:
        package_id = package(client, [of("messages", 5)])
        user_id = create_subscriber(client, package_id)
        publish(client, package_id, of("messages", 9))
        await log_in(page, server)
        [cookie] = [each for each in await page.context.cookies() if each["name"] == "canuse_console"]
        progress = Progress(package_id, 0, 2, 10)
        query = f"id={package_id}&to_version=2&total=10"
        url = f"{server.canuse.http_url}/console/package/migration?{query}&proof="
        # Not from the session's own pages: it waits.
        await page.goto(url + "0" * 64)
        await page.get_by_role("button", name="Go on").wait_for()
        assert versions(client, user_id) == [1]
        await page.goto(url + Session(cookie["value"]).sign(progress.text))
        await page.get_by_text("All subscriptions are moved.").wait_for()
        assert versions(client, user_id) == [2]


async def test_of_two_admins_the_second_sees_what_the_first_has_changed(
    server: AuthenticatedServer, browser: "Browser", page: "Page", npm: Npm
) -> None:
    axe = (npm.node_modules / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    with server.client() as client:
        package_id = package(client, [of("messages", 5)])
        client.update_package(package_id, name="Draft")
        path = f"/package/edit?id={package_id}"
        async with await browser.new_context() as context:
            other = await context.new_page()
            await log_in(page, server, path)
            await log_in(other, server, path)
            await other.get_by_label("Limit of row 1").fill("4")
            await other.get_by_role("button", name="Save the draft").click()
            await other.get_by_text("The draft is saved.").wait_for()
        await page.get_by_label("Name").fill("Mine")
        await page.keyboard.press("Enter")
        await page.get_by_role("alert").get_by_text("changed by somebody else").wait_for()
        changed = page.get_by_role("region", name="What was changed meanwhile").get_by_role("row", name="messages")
        assert [await cell.inner_text() for cell in await changed.first.get_by_role("cell").all()] == [
            *("messages", "5, a month", "4, a month", "5, a month")
        ]
        await page.evaluate(axe)
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            result = await page.evaluate("axe.run()")
            assert [each["id"] for each in result["violations"] if each["impact"] in SERIOUS] == []
        await page.set_viewport_size({"width": PHONE, "height": 700})
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE
        assert client.get_package(package_id).features[0].limit == 4
        await page.get_by_label("Limit of row 1").fill("4")
        await page.get_by_role("button", name="Save the draft").click()
        await page.get_by_text("The draft is saved.").wait_for()
        saved = client.get_package(package_id)
        assert (saved.name, saved.features[0].limit) == ("Mine", 4)


async def test_everything_is_done_without_javascript(server: AuthenticatedServer, plain_page: "Page") -> None:
    page = plain_page
    with server.client() as client:
        user_id, feature_id = subscriber(client, 5)
        await log_in(page, server, f"/user?id={user_id}")
        await page.get_by_role("link", name="Give a grant").click()
        await page.get_by_label("Feature").select_option(feature_id)
        await page.get_by_label("Amount").fill("2")
        await page.get_by_role("button", name="Give the grant").dblclick()
        await page.get_by_text("The grant is made.").wait_for()
        assert len(list(client.list_grants(user_id))) == 1
        await page.get_by_role("link", name="Disable").click()
        await page.get_by_role("button", name="Disable").click()
        await page.get_by_text("This user is disabled").wait_for()
        await page.get_by_role("link", name="Delete").click()
        await page.get_by_label("Type the id of the user").fill(user_id)
        await page.get_by_role("button", name="Delete for good").click()
        await page.get_by_text("all data about them are deleted").wait_for()
        assert user_id not in [user.id for user in client.list_users()]
        # Everything is in the audit log.
        methods = [each.method.rpartition("/")[2] for each in client.list_audit_entries(user_id=user_id)]
        assert methods == ["DeleteUser", "UpdateUser", "CreateGrant", "Subscribe", "CreateUser"]


async def test_axe_finds_nothing_serious_and_no_form_is_wider_than_a_phone(
    server: AuthenticatedServer, page: "Page", npm: Npm
) -> None:
    axe = (npm.node_modules / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    with server.client() as client:
        user_id, feature_id = subscriber(client, 5)
        client.use_feature(user_id, feature_id, 1)
        [subscription] = client.list_subscriptions(user_id)
        [event] = client.list_usage_events(user_id)
        key = next(iter(client.list_api_keys()))
        grant_id = grant(client, user_id, feature_id, 1)
        package_id = package(client, [of(feature_id, 1)])
        publish(client, package_id, of(feature_id, 2))
        client.update_package(package_id, features=[v1.PackageFeature(feature_id=feature_id, limit=1)])
    await log_in(page, server)
    ids = {"/feature": feature_id, "/package": package_id, "/keys": key.id}
    found: dict[tuple[str, str], list[str]] = {}
    for path in ACTIONS:
        item = ids.get(path[: path.rindex("/")], user_id)
        query = f"id={item}&subscription={subscription.id}&event={event.id}&feature={feature_id}&grant={grant_id}"
        await page.set_viewport_size({"width": 1200, "height": 800})
        answer = await page.goto(f"{server.canuse.http_url}/console{path}?{query}")
        assert answer is not None
        assert (path, answer.status) == (path, 200)
        await page.evaluate(axe)
        for scheme in SCHEMES if path in DARK else SCHEMES[:1]:
            # Colours that are still changing would be measured.
            await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            result = await page.evaluate("axe.run()")
            serious = [each for each in result["violations"] if each["impact"] in SERIOUS]
            found[path, scheme] = [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in serious]
        await page.set_viewport_size({"width": PHONE, "height": 700})
        assert (path, await page.evaluate("document.documentElement.scrollWidth")) == (path, PHONE)
    assert {page: each for page, each in found.items() if each} == {}
