"""How the client for TypeScript repeats calls, and what it answers while the service does not.

A scripted server, called by gRPC, says what follows from each failure; a real one is killed under load.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from grpc import StatusCode

from canuse import v1
from support.browser import Site
from support.load import MAX_WAIT_SECONDS, used
from support.message_clients import Client
from support.npm import Npm
from support.processes import Canuse, RedisServer
from support.resources import subscriber
from support.scripted_server import ScriptedServer, scripted_server
from support.typescript import Caller, PageCaller, node_caller

LOST = (StatusCode.UNAVAILABLE, "")
OUTCOME_UNKNOWN = (StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN")
STORE_UNAVAILABLE = (StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
SHUTTING_DOWN = (StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
OVERLOADED = (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
CANCELLED = (StatusCode.CANCELLED, "")
QUICK = {"initialBackoffMs": 1, "maxBackoffMs": 2}
FIVE_LEFT = v1.CanUseResponse(
    access=True,
    reason=v1.REASON_WITHIN_BUDGET,
    source=v1.SOURCE_STORE,
    consumption=v1.Consumption(used=5, budget=10, remaining=5),
    on_unavailable=v1.ON_UNAVAILABLE_LAST_KNOWN,
)
KILLS = 2
CALLS = 60
"""Minimum number of calls answered between two kills."""
TASKS = 9


@pytest.fixture(scope="module")
def path(npm: Npm, site: Site, programs: Path) -> str:
    """The path of the page with a client."""
    return site.add("typescript-retries", npm.bundle(programs / "client_web.ts", programs / "bundle" / "retries.js"))


@pytest.fixture
async def node(npm: Npm, programs: Path) -> AsyncIterator[Caller]:
    """A client in Node.js."""
    async with node_caller(programs / "client_node.js", dict(os.environ)) as caller:
        yield caller


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Serve until the end of the test."""
    with scripted_server() as server:
        yield server


@pytest.fixture
def scripted(node: Caller, server: ScriptedServer) -> Caller:
    """A client of the scripted server that does not wait long before a retry."""
    node.options = {"grpcAddress": server.address, "timeoutMs": 60_000, "retry": QUICK}
    return node


def away(server: ScriptedServer, failure: tuple[StatusCode, str] = LOST) -> None:
    """Let no call be answered."""
    for method in ("CanUse", "UseFeature", "Reserve"):
        server.always[method] = failure


class TestRetries:
    """Which calls are made again."""

    async def test_a_recording_call_is_repeated_with_its_event_id(
        self, scripted: Caller, server: ScriptedServer
    ) -> None:
        for name, *others in (("useFeature",), ("createUsageEvent",), ("reserve", 1)):
            server.requests.clear()
            method = {"useFeature": "UseFeature", "createUsageEvent": "CreateUsageEvent", "reserve": "Reserve"}[name]
            server.fail(method, LOST, OUTCOME_UNKNOWN, CANCELLED, SHUTTING_DOWN)
            await scripted.value(name, "u", "f", *others)
            assert len(server.requests) == 5
            assert len({request.event_id for request in server.requests}) == 1
            assert len(server.requests[0].event_id) == 32
            assert server.requests[0].event_id_ttl.seconds == 600

    async def test_each_call_has_an_event_id_of_its_own_or_the_one_of_its_caller(
        self, scripted: Caller, server: ScriptedServer
    ) -> None:
        for _ in range(2):
            await scripted.value("useFeature", "u", "f")
        await scripted.value("useFeature", "u", "f", 1, {"eventId": "mine"})
        first, second, mine = (request.event_id for request in server.requests)
        assert first != second
        assert (mine, server.requests[2].HasField("event_id_ttl")) == ("mine", False)
        # The same message sent twice stands for two uses of each item.
        server.requests.clear()
        await scripted.value("batchTwice", "u", "f")
        ids = [item.event_id for request in server.requests for item in request.requests]
        assert (len(ids), len(set(ids))) == (4, 4)

    async def test_what_a_server_has_answered_is_not_repeated(self, scripted: Caller, server: ScriptedServer) -> None:
        for failure in (STORE_UNAVAILABLE, OVERLOADED, (StatusCode.NOT_FOUND, "USER_NOT_FOUND")):
            server.requests.clear()
            server.fail("UseFeature", failure)
            error = await scripted.error("useFeature", "u", "f")
            assert (error["code"], error["reason"]) == (failure[0].name, failure[1])
            assert len(server.requests) == 1
            assert error["eventId"] == server.requests[0].event_id

    async def test_another_change_is_repeated_only_if_it_was_not_taken(
        self, scripted: Caller, server: ScriptedServer
    ) -> None:
        server.fail("ArchiveFeature", SHUTTING_DOWN)
        await scripted.value("archive", "f")
        server.fail("ArchiveFeature", LOST)
        assert (await scripted.error("archive", "f"))["code"] == "UNAVAILABLE"
        server.fail("EnsureUser", LOST)
        await scripted.value("ensureUser", "u")

    async def test_the_error_is_about_the_call_and_not_about_its_last_attempt(
        self, scripted: Caller, server: ScriptedServer
    ) -> None:
        # Nothing was written by the second attempt, but perhaps by the first.
        server.fail("UseFeature", LOST)
        server.always["UseFeature"] = OVERLOADED
        error = await scripted.error("useFeature", "u", "f")
        assert (error["code"], error.get("reason"), len(server.requests)) == ("UNAVAILABLE", None, 2)
        server.always["UseFeature"] = (StatusCode.NOT_FOUND, "USER_NOT_FOUND")
        server.fail("UseFeature", LOST)
        assert (await scripted.error("useFeature", "u", "f"))["reason"] == "USER_NOT_FOUND"

    async def test_retries_end_with_the_deadline_the_budget_or_the_callers_signal(
        self, scripted: Caller, server: ScriptedServer
    ) -> None:
        await scripted.open(timeoutMs=2000, retry=True)
        await scripted.value("canUse", "u", "f")  # now it is connected
        away(server)
        server.requests.clear()
        started_at = time.monotonic()
        error = await scripted.error("useFeature", "u", "f")
        assert time.monotonic() - started_at < 30
        assert error["code"] == "UNAVAILABLE"
        assert len(server.requests) > 1
        assert error["eventId"] == server.requests[0].event_id
        await scripted.open(retry={**QUICK, "budget": 2})
        server.requests.clear()
        await scripted.error("useFeature", "u", "f")
        assert len(server.requests) == 3
        await scripted.error("useFeature", "u", "f")
        assert len(server.requests) == 4
        await scripted.open()
        stopped = await scripted.error("aborted", 100, "useFeature", "u", "f")
        assert (stopped["name"], stopped["message"]) == ("Error", "the caller does not wait")

    async def test_retries_can_be_turned_off(self, scripted: Caller, server: ScriptedServer) -> None:
        for retry, checks in ((False, 1), ({**QUICK, "recording": False}, 2)):
            await scripted.open(retry=retry)
            server.requests.clear()
            server.fail("UseFeature", LOST)
            server.fail("CanUse", LOST)
            assert (await scripted.error("useFeature", "u", "f"))["eventId"] == ""
            await scripted.run("canUse", "u", "f")
            assert [type(request).__name__ for request in server.requests] == [
                "UseFeatureRequest",
                *["CanUseRequest"] * checks,
            ]
            server.failures.clear()


class TestUnavailable:
    """What the client answers to checks if the service does not."""

    async def test_each_feature_has_the_answer_that_its_caller_chose_and_it_is_visible(
        self, scripted: Caller, server: ScriptedServer
    ) -> None:
        words = {"d": "deny", "a": "allow", "l": "lastKnown", "r": "raise"}
        await scripted.open(retry={**QUICK, "budget": 2}, unavailable=words)
        for failure in (LOST, STORE_UNAVAILABLE, (StatusCode.DEADLINE_EXCEEDED, ""), OVERLOADED):
            away(server, failure)
            denied, allowed, unknown = [await scripted.value("canUseDetails", "u", feature) for feature in "dal"]
            assert [each["access"] for each in (denied, allowed, unknown)] == [False, True, False]
            for answer in (denied, allowed, unknown):
                assert (answer["source"], answer["reason"]) == ("FALLBACK", "STORE_UNAVAILABLE")
                assert answer["failure"]["code"] == failure[0].name
            assert allowed["onUnavailable"] == "ALLOW"
            assert await scripted.value("canUse", "u", "a") is True
            assert (await scripted.error("canUse", "u", "r"))["code"] == failure[0].name
            told = (await scripted.error("denial", denied))["message"]
            assert told == "We cannot check d right now. Please try again in a moment."
        away(server, (StatusCode.NOT_FOUND, "USER_NOT_FOUND"))
        assert (await scripted.error("canUse", "u", "a"))["reason"] == "USER_NOT_FOUND"

    async def test_by_default_the_feature_decides_as_last_heard_and_before_that_the_error_is_thrown(
        self, scripted: Caller, server: ScriptedServer
    ) -> None:
        await scripted.open(retry={**QUICK, "budget": 2})
        away(server)
        assert (await scripted.error("canUse", "u", "f"))["code"] == "UNAVAILABLE"
        for word, access in ((v1.ON_UNAVAILABLE_ALLOW, True), (v1.ON_UNAVAILABLE_DENY, False)):
            server.always.clear()
            server.answers["CanUse"] = v1.CanUseResponse(on_unavailable=word)
            assert (await scripted.value("canUseDetails", "u", "f"))["failure"] is None
            away(server)
            answer = await scripted.value("canUseDetails", "another user", "f")
            assert (answer["access"], answer["failure"]["code"]) == (access, "UNAVAILABLE")
            assert (await scripted.error("canUse", "u", "another feature"))["code"] == "UNAVAILABLE"

    async def test_the_last_known_counts_apply_to_the_amount_and_include_later_uses(
        self, scripted: Caller, server: ScriptedServer
    ) -> None:
        server.answers["CanUse"] = FIVE_LEFT
        server.answers["UseFeature"] = v1.UseFeatureResponse(
            access=True, reason=v1.REASON_WITHIN_BUDGET, consumption=v1.Consumption(used=8, budget=10, remaining=2)
        )
        await scripted.open(retry={**QUICK, "budget": 2})
        await scripted.value("canUse", "u", "f")
        away(server)
        five, six = [await scripted.value("canUseDetails", "u", "f", delta) for delta in (5, 6)]
        assert (five["access"], six["access"], five["source"]) == (True, False, "LAST_KNOWN")
        assert five["consumption"]["remaining"] == 5
        assert (await scripted.value("canUseDetails", "another user", "f"))["source"] == "FALLBACK"
        server.always.clear()
        await scripted.value("useFeature", "u", "f", 3)
        away(server)
        assert [await scripted.value("canUse", "u", "f", delta) for delta in (2, 3)] == [True, False]

    async def test_an_answer_of_the_server_without_its_store_is_not_taken_for_what_is_known(
        self, scripted: Caller, server: ScriptedServer
    ) -> None:
        server.answers["CanUse"] = v1.CanUseResponse(access=True, source=v1.SOURCE_FALLBACK)
        await scripted.open(retry={**QUICK, "budget": 2}, unavailableDefault="lastKnown")
        assert await scripted.value("canUse", "u", "f") is True
        away(server)
        assert await scripted.value("canUse", "u", "f") is False

    async def test_work_runs_by_the_answer_of_the_client_and_its_use_is_recorded_after_it(
        self, scripted: Caller, server: ScriptedServer
    ) -> None:
        away(server)
        await scripted.open(retry={**QUICK, "budget": 2}, unavailable={"a": "allow", "d": "deny"})
        assert (await scripted.error("useFeature", "u", "a"))["code"] == "UNAVAILABLE"
        assert (await scripted.error("reserve", "u", "a", 1))["code"] == "UNAVAILABLE"
        done = await scripted.value("using", "u", "a", 3, {})
        recorded = server.requests[-1]
        assert isinstance(recorded, v1.CreateUsageEventRequest)
        assert (recorded.delta, recorded.event_id) == (3, done["use"]["eventId"])
        assert (await scripted.error("using", "u", "d", 1, {}))["name"] == "AccessDenied"
        server.always["CreateUsageEvent"] = LOST
        lost = await scripted.error("using", "u", "a", 1, {})
        assert (lost["code"], lost["eventId"]) == ("UNAVAILABLE", server.requests[-1].event_id)

    async def test_while_nothing_answers_checks_with_another_answer_do_not_wait(
        self, scripted: Caller, server: ScriptedServer
    ) -> None:
        await scripted.open(retry={"initialBackoffMs": 1, "maxBackoffMs": 50}, unavailableDefault="allow")
        await scripted.value("canUse", "u", "f")  # now it is connected
        away(server)
        counts = []
        for _ in range(2):
            server.requests.clear()
            assert await scripted.value("canUse", "u", "f") is True
            counts.append(len(server.requests))
        server.always.clear()
        await scripted.value("canUse", "u", "f")
        away(server)
        server.requests.clear()
        await scripted.value("canUse", "u", "f")
        assert counts[0] > 1
        assert counts[1] == 1
        assert len(server.requests) > 1


@pytest.fixture(params=["node", "grpc", "web"])
def killed(
    request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer, site: Site, path: str
) -> Iterator[tuple[Caller, Canuse]]:
    """A client, and a server that can be killed without its store."""
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0", "CANUSE_HTTP_CORS_ORIGINS": site.origin}
    server = Canuse(tmp_path, "--redis-url", redis.url, env=env).start()
    caller: Caller
    if request.param == "web":
        caller = PageCaller(request.getfixturevalue("page"), site.origin + path)
    else:
        caller = request.getfixturevalue("node")
    caller.options = {"url": server.http_url, "timeoutMs": MAX_WAIT_SECONDS * 1000}
    if request.param == "grpc":
        caller.options["grpcAddress"] = server.address
    try:
        yield caller, server
    finally:
        server.stop()


async def test_a_server_that_is_killed_and_restarted_fails_no_call_and_counts_each_use_once(
    killed: tuple[Caller, Canuse],
) -> None:
    caller, server = killed
    with Client(server.address) as setup:
        user, feature = subscriber(setup, None)
    await caller.value("startLoad", user, feature, TASKS)
    for _ in range(KILLS):
        await wait_for_more(caller)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
    await wait_for_more(caller)
    load = await caller.value("stopLoad")
    assert load["errors"] == []
    with Client(server.address) as setup:
        assert used(setup, user, feature) == load["answered"]


async def wait_for_more(caller: Caller) -> None:
    """Wait until so many further calls are answered."""
    target = None
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while True:
        load = await caller.value("answered")
        target = target or load["answered"] + CALLS
        if load["answered"] >= target:
            return
        assert load["errors"] == []
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_while_the_server_is_gone_the_feature_answers_and_soon_after_it_is_back_the_service(
    killed: tuple[Caller, Canuse],
) -> None:
    caller, server = killed
    with Client(server.address) as setup:
        user, feature = subscriber(setup, 5)
        setup.update_feature(feature, on_unavailable=v1.ON_UNAVAILABLE_LAST_KNOWN)
    assert (await caller.value("canUseDetails", user, feature))["source"] == "STORE"
    await asyncio.to_thread(server.kill)
    five, six = [await caller.value("canUseDetails", user, feature, delta) for delta in (5, 6)]
    assert (five["access"], six["access"]) == (True, False)
    assert five["source"] == six["source"] == "LAST_KNOWN"
    assert five["failure"]["code"] == "UNAVAILABLE"
    await asyncio.to_thread(server.start)
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while (await caller.value("canUseDetails", user, feature))["source"] != "STORE":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
