"""The example in examples/page, started as docs/example.md says, in a real browser.

With UPDATE_SCREENSHOTS=1 the pictures of docs/example.md are taken anew.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from examples.page.build import PACKAGES, SOURCES
from examples.page.canuse_server import TIMEOUT_SECONDS, prepare
from examples.page.service import MAYBE_COUNTED, PAGES, USER_ID, create_service
from examples.page.service import MESSAGES as MESSAGES_FEATURE

from canuse import AsyncClient
from support.npm import run
from support.processes import RedisServer, free_port
from support.relay import server_behind_relay
from support.tools import ROOT, tool

if TYPE_CHECKING:
    from playwright.async_api import Page

IMAGES: Final = ROOT / "docs" / "images"
MAX_IMAGE_BYTES: Final = 100_000
DESKTOP: Final = (880, 440)
PHONE: Final = (390, 800)
MESSAGES: Final = ("Good morning!", "The train leaves at nine.", "See you at the station.")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the running example. It ends by itself when it is told to."""
    tool("node")
    tool("npm")
    log = tmp_path_factory.mktemp("example") / "log"
    command = [sys.executable, "-m", "examples.page", "--port", "0"]
    with log.open("w") as stderr:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdout is not None
    ready = re.fullmatch(r"the example is ready on (\S+)\n", process.stdout.readline())
    try:
        assert ready, log.read_text()
        yield ready[1]
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0, log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.fixture
def service(example: str) -> Iterator[httpx.Client]:
    """The service behind the page."""
    with httpx.Client(base_url=example, timeout=60) as service:
        yield service


def next_day(service: httpx.Client) -> None:
    """Move the clock to the next midnight, when the budgets reset."""
    now = datetime.fromisoformat(service.get("/api/clock").json()["time"])
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert service.post("/api/clock", json={"time": midnight.isoformat()}).status_code == 200


def send(service: httpx.Client, key: str, **headers: str) -> httpx.Response:
    """Send a message."""
    return service.post("/api/messages", json={"text": key}, headers={"Idempotency-Key": key, **headers})


async def take_picture(page: "Page", folder: Path, name: str, size: tuple[int, int]) -> None:
    """Take a picture of the whole page."""
    await page.set_viewport_size({"width": size[0], "height": size[1]})
    picture = await page.screenshot(path=folder / name, full_page=True, animations="disabled")
    assert len(picture) < MAX_IMAGE_BYTES
    if os.environ.get("UPDATE_SCREENSHOTS") == "1":
        IMAGES.mkdir(exist_ok=True)
        shutil.copy(folder / name, IMAGES)


async def test_what_the_page_shows_goes_when_its_budget_is_used_up_and_comes_back_at_the_reset(
    example: str, page: "Page", tmp_path: Path
) -> None:
    messages, printing = (page.get_by_role("region", name=name) for name in ("Send a message", "Print what you sent"))
    text, submit = messages.get_by_role("textbox"), messages.get_by_role("button", name="Send", exact=True)
    to_print = printing.get_by_role("button", name="Print", exact=True)
    await page.goto(example)
    await page.get_by_text("Starter").wait_for()
    for number, message in enumerate(MESSAGES, start=1):
        await text.fill(message)
        await submit.click()
        await messages.get_by_text(f"{number} of 3 messages").wait_for()
        if number == 1:
            await to_print.click()
            await printing.get_by_text("1 of 4 pages").wait_for()
            await take_picture(page, tmp_path, "example-allowed.png", DESKTOP)

    # By OpenFeature: the form is gone, and the service refuses as well.
    blocked = messages.get_by_role("status")
    await blocked.get_by_text("You have used all the messages of your plan for today. You get new ones on").wait_for()
    assert await text.count() == await submit.count() == 0
    resets_at = await blocked.get_by_role("time").get_attribute("datetime")
    assert resets_at is not None
    assert datetime.fromisoformat(resets_at).strftime("%H:%M:%S") == "00:00:00"
    await messages.get_by_role("button", name="Send one anyway").click()
    await messages.get_by_text("The service refused with 429: The budget is used up.").wait_for()
    await take_picture(page, tmp_path, "example-blocked.png", DESKTOP)

    # By Kana's client. Printing is recorded afterwards, above the budget as well.
    await to_print.click()
    await printing.get_by_text("4 of 4 pages").wait_for()
    blocked = printing.get_by_role("status")
    await blocked.get_by_text("You have used all the pages of your plan for today. You get new ones on").wait_for()
    assert await to_print.count() == 0
    await printing.get_by_role("button", name="Print anyway").click()
    await printing.get_by_text("The service refused with 429: The budget is used up.").wait_for()
    await page.emulate_media(color_scheme="dark")
    await take_picture(page, tmp_path, "example-phone.png", PHONE)
    assert await page.evaluate("document.documentElement.scrollWidth") == PHONE[0]

    # At the second reset the page's token has expired: it gets another one.
    for _ in range(2):
        await page.get_by_role("button", name="Go to the reset").click()
        await messages.get_by_text("0 of 3 messages").wait_for()
        await printing.get_by_text("0 of 4 pages").wait_for()
        assert await page.get_by_role("status").count() == await page.get_by_role("alert").count() == 0
        await text.fill("Good morning again!")
        await submit.click()
        await messages.get_by_text("1 of 3 messages").wait_for()
        await to_print.click()
        await printing.get_by_text(re.compile("^[45] of 4 pages")).wait_for()


def test_the_service_blocks_whoever_calls_it(service: httpx.Client) -> None:
    next_day(service)
    before = len(service.get("/api/messages").json())
    for key in ("a", "b", "b", "c"):
        assert send(service, key).status_code == 201
    assert len(service.get("/api/messages").json()) == before + 3
    refused = send(service, "d")
    assert (refused.status_code, refused.headers.get("retry-after")) == (429, "86400")
    detail: dict[str, Any] = refused.json()["detail"]
    assert detail["reason"] == "REASON_BUDGET_EXCEEDED"
    assert datetime.fromisoformat(detail["resetsAt"]) > datetime.fromisoformat(service.get("/api/clock").json()["time"])
    next_day(service)
    assert send(service, "e").status_code == 201


def test_a_page_elsewhere_gets_no_token(service: httpx.Client) -> None:
    assert service.get("/api/session", headers={"Host": "elsewhere.example"}).status_code == 400
    session = service.get("/api/session", headers={"Origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in session.headers
    token, url = session.json()["token"], session.json()["canuseUrl"]
    for user_id, status in (("ada", 200), ("somebody-else", 403)):
        context = {"context": {"targetingKey": user_id}}
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.post(f"{url}/ofrep/v1/evaluate/flags", json=context, headers=headers, timeout=60)
        assert answer.status_code == status


async def test_without_canuse_the_service_does_nothing_and_says_that_it_can_not() -> None:
    address = f"127.0.0.1:{free_port()}"
    async with AsyncClient(address, retry=False) as canuse:
        transport = httpx.ASGITransport(create_service(canuse, "", manual_clock=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as service:
            headers = {"Idempotency-Key": "a"}
            answers = [
                await service.post("/api/messages", json={"text": "a"}, headers=headers),
                await service.post("/api/prints", headers=headers),
                await service.get("/api/session"),
            ]
            assert [answer.status_code for answer in answers] == [503] * 3
            assert (await service.get("/api/messages")).json() == []


async def test_what_is_sent_again_counts_once_also_if_nobody_knew_whether_it_was_counted(
    tmp_path: Path, redis: RedisServer
) -> None:
    """A print that was sent again after another message failed with 500; a message that was counted was never sent."""
    async with server_behind_relay("grpcio", tmp_path, redis, database="6") as (canuse, relay):
        keys = await asyncio.to_thread(prepare, canuse.address)
        # By default a client finds out itself what became of its call.
        async with AsyncClient(
            canuse.address, api_key=keys.service, timeout_seconds=TIMEOUT_SECONDS, retry=False
        ) as client:
            transport = httpx.ASGITransport(create_service(client, "", manual_clock=False))
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as service:

                async def send_message(key: str) -> httpx.Response:
                    headers = {"Idempotency-Key": key}
                    return await service.post("/api/messages", json={"text": key}, headers=headers)

                async def print_all() -> httpx.Response:
                    return await service.post("/api/prints", headers={"Idempotency-Key": "print"})

                relay.drop_reply_to(b"message-first")
                unknown = await send_message("first")
                assert (unknown.status_code, relay.lost_replies) == (503, 1)
                assert MAYBE_COUNTED in unknown.json()["detail"]["message"]
                for _ in range(2):
                    assert (await send_message("first")).json() == ["first"]

                relay.drop_reply_to(b"print-print")
                unknown = await print_all()
                assert (unknown.status_code, relay.lost_replies) == (503, 2)
                assert (await send_message("second")).json() == ["first", "second"]
                for _ in range(2):
                    assert (await print_all()).json() == {"pages": 1}
                for feature_id, used in ((MESSAGES_FEATURE, 2), (PAGES, 1)):
                    answer = await client.can_use(USER_ID, feature_id)
                    assert answer.consumption is not None
                    assert answer.consumption.used == used


def test_the_types_of_the_page_match(example: str, tmp_path: Path) -> None:
    assert example
    folder = tmp_path / "web"
    shutil.copytree(SOURCES, folder)
    (folder / "node_modules").symlink_to(PACKAGES / "node_modules")
    run(PACKAGES / "node_modules" / ".bin" / "tsc", "--project", folder, cwd=folder)
