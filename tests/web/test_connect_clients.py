"""`@connectrpc/connect-web` in a real browser and `@connectrpc/connect-node`, with the package for TypeScript."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from canuse import v1
from support.authenticated_server import AuthenticatedServer, authenticated_server
from support.browser import Site
from support.load import used
from support.migrations import create_subscriber, of, publish
from support.npm import Npm
from support.processes import Canuse
from support.resources import consumable, package, subscriber, unique

if TYPE_CHECKING:
    from playwright.async_api import Page

Call = Callable[..., Awaitable[dict[str, Any]]]
"""Makes a call: the path, the request as JSON, and `timeout_ms`."""
LARGEST = 2**53 - 1
"""The largest limit."""
SUBSCRIBERS = 1001
"""A migration reports after each 1,000."""


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that requires keys, and that the pages of one origin may call."""
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0", "CANUSE_HTTP_CORS_ORIGINS": site.origin}
    with authenticated_server(Canuse(tmp_path_factory.mktemp("web"), env=env)) as server:
        yield server


@pytest.fixture(scope="module")
def path(npm: Npm, site: Site, programs: Path) -> str:
    """The path of the page that makes calls."""
    return site.add("connect-web", npm.bundle(programs / "web.ts", programs / "bundle" / "web.js"))


@pytest.fixture(params=["web-json", "web-proto", "node-json", "node-proto"])
def call(request: pytest.FixtureRequest, server: AuthenticatedServer) -> Call:
    """What makes calls: each client, with each format."""
    kind, _, codec = request.param.partition("-")
    options = {"baseUrl": server.canuse.http_url, "useBinaryFormat": codec == "proto", "apiKey": server.admin}
    if kind == "node":
        npm, script = request.getfixturevalue("npm"), request.getfixturevalue("programs") / "node.js"

        async def by_node(call: dict[str, Any]) -> Any:
            argument = json.dumps({"options": options, "calls": [call]})
            return json.loads((await asyncio.to_thread(npm.node, script, argument)).stdout)[0]

        return _call(by_node)
    page, site, path = (request.getfixturevalue(fixture) for fixture in ("page", "site", "path"))

    async def by_page(call: dict[str, Any]) -> Any:
        if not page.url.startswith("http"):
            await page.goto(site.origin + path)
        return await page.evaluate("([options, call]) => callFromPage(options, call)", [options, call])

    return _call(by_page)


def _call(make: Callable[[dict[str, Any]], Awaitable[Any]]) -> Call:
    async def call(path: str, request: dict[str, Any], timeout_ms: int | None = None) -> dict[str, Any]:
        timeout = {} if timeout_ms is None else {"timeoutMs": timeout_ms}
        outcome: dict[str, Any] = await make({"path": path, "request": request, **timeout})
        return outcome

    return call


@contextmanager
def store_paused(canuse: Canuse) -> Iterator[None]:
    """Pause the store of a server."""
    os.kill(canuse.valkey_pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(canuse.valkey_pid, signal.SIGCONT)


async def test_a_client_records_a_use_by_post_and_asks_by_get(call: Call, server: AuthenticatedServer) -> None:
    with server.client() as python:
        user, feature = subscriber(python, LARGEST)
    ids = {"userId": user, "featureId": feature}
    recorded = await call("EntitlementService/CreateUsageEvent", {**ids, "delta": "3", "eventId": unique()})
    assert (recorded["cacheControl"], recorded["answer"]["recorded"]) == (None, True)
    asked = await call("EntitlementService/CanUse", ids)
    assert asked["cacheControl"] == "no-store"
    assert (asked["answer"]["access"], asked["answer"]["reason"]) == (True, "REASON_WITHIN_BUDGET")
    consumption = asked["answer"]["consumption"]
    assert (consumption["used"], consumption["budget"]) == ("3", str(LARGEST))


async def test_a_client_reads_the_details_of_errors(call: Call, request: pytest.FixtureRequest) -> None:
    unknown = await call("EntitlementService/CanUse", {"userId": unique(), "featureId": unique()})
    assert (unknown["error"], unknown["reasons"]) == ("NotFound", ["FEATURE_NOT_FOUND"])
    bad = await call("EntitlementService/CreateUsageEvent", {"userId": "", "featureId": "x"})
    # In JSON fields have the names that they are sent with.
    user_id = "userId" if "json" in request.node.callspec.id else "user_id"
    assert (bad["error"], bad["reasons"], bad["fields"]) == ("InvalidArgument", ["INVALID_FIELD"], [user_id])


@pytest.fixture(scope="module")
def many_subscribers(server: AuthenticatedServer) -> tuple[str, int]:
    """A package with more subscribers than one message reports, and its newest version, which they are not on."""
    with server.client() as client:
        entry = of(consumable(client), 5)
        package_id = package(client, [entry])
        for _ in range(SUBSCRIBERS):
            create_subscriber(client, package_id)
        return package_id, publish(client, package_id, entry)


async def test_a_client_reads_a_stream(call: Call, many_subscribers: tuple[str, int]) -> None:
    package_id, version = many_subscribers
    ids = {"packageId": package_id, "fromVersion": version - 1, "toVersion": version, "dryRun": True}
    messages = (await call("CatalogService/MigrateSubscriptions", ids))["messages"]
    assert len(messages) > 1
    assert [message.get("done", False) for message in messages] == [False] * (len(messages) - 1) + [True]
    assert messages[-1]["migrated"] == str(SUBSCRIBERS)
    failed = await call("CatalogService/MigrateSubscriptions", {**ids, "packageId": unique()})
    assert (failed["error"], failed["reasons"]) == ("NotFound", ["PACKAGE_NOT_FOUND"])


async def test_a_call_ends_at_the_deadline_of_the_client(call: Call, server: AuthenticatedServer) -> None:
    with server.client() as python:
        user, feature = subscriber(python, 5)
    with store_paused(server.canuse):
        ids = {"userId": user, "featureId": feature}
        late = await call("EntitlementService/CreateUsageEvent", ids, timeout_ms=500)
    assert late["error"] == "DeadlineExceeded"


async def test_a_page_of_another_origin_cannot_call(
    server: AuthenticatedServer, page: "Page", site: Site, path: str
) -> None:
    with server.client() as client:
        user, feature = subscriber(client, 5)
    await page.goto(site.other_origin + path)
    options = {"baseUrl": server.canuse.http_url, "useBinaryFormat": False, "apiKey": server.admin}
    ids = {"userId": user, "featureId": feature}
    for method in ("CanUse", "CreateUsageEvent"):
        call = {"path": f"EntitlementService/{method}", "request": ids}
        refused = await page.evaluate("([options, call]) => callFromPage(options, call)", [options, call])
        assert (refused["error"], refused["message"]) == ("Unknown", "Failed to fetch")
    with server.client() as client:
        assert used(client, user, feature) == 0


async def test_the_package_exports_every_service_message_and_enum(npm: Npm, programs: Path) -> None:
    script = programs / "exports.mjs"
    script.write_text('import * as canuse from "canuse/v1"; console.log(JSON.stringify(Object.keys(canuse)))')
    exported = set(json.loads(npm.node(script).stdout))
    services = {name.removesuffix("Stub") for name in v1.__all__ if name.endswith("Stub")}
    types = {name for name in v1.__all__ if isinstance(getattr(v1, name), type) and not name.endswith("Stub")}
    assert services | {f"{name}Schema" for name in types} <= exported
