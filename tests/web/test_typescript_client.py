"""The client of the package for TypeScript against a real server: in Node.js, also by gRPC, and in Chromium."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from canuse import v1
from support.authenticated_server import PUBLISHABLE_KEYS, AuthenticatedServer, authenticated_server
from support.browser import Site
from support.load import used
from support.npm import Npm
from support.processes import Canuse
from support.resources import binary, consumable, package, subscriber, unique
from support.typescript import Caller, PageCaller, node_caller

LARGEST = 2**53 - 1


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that requires keys, and that the pages of one origin may call."""
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0", "CANUSE_HTTP_CORS_ORIGINS": site.origin, **PUBLISHABLE_KEYS}
    with authenticated_server(Canuse(tmp_path_factory.mktemp("typescript"), env=env)) as server:
        yield server


@pytest.fixture(scope="module")
def path(npm: Npm, site: Site, programs: Path) -> str:
    """The path of the page with a client."""
    return site.add("typescript-client", npm.bundle(programs / "client_web.ts", programs / "bundle" / "client_web.js"))


@pytest.fixture
async def node(npm: Npm, programs: Path) -> AsyncIterator[Caller]:
    """A client in Node.js."""
    async with node_caller(programs / "client_node.js", dict(os.environ)) as caller:
        yield caller


@pytest.fixture(params=["node", "grpc", "web"])
def caller(request: pytest.FixtureRequest, server: AuthenticatedServer) -> Caller:
    """Each client, with the admin's key."""
    caller: Caller
    if request.param == "web":
        page, site, path = (request.getfixturevalue(fixture) for fixture in ("page", "site", "path"))
        caller = PageCaller(page, site.origin + path)
    else:
        caller = request.getfixturevalue("node")
    caller.options = {"apiKey": server.admin, "timeoutMs": 60_000, "url": server.canuse.http_url}
    if request.param == "grpc":
        caller.options = {**caller.options, "grpcAddress": server.canuse.address}
    return caller


OVER_HTTP = pytest.mark.parametrize("caller", ["node", "web"], indirect=True)


def counts(server: AuthenticatedServer, user: str, feature: str) -> tuple[int, int]:
    """Return what is used and what is reserved."""
    with server.client() as client:
        consumption = client.can_use(user, feature).consumption
    return consumption.used, consumption.reserved


async def test_a_check_is_a_boolean_and_its_details_an_answer(caller: Caller, server: AuthenticatedServer) -> None:
    with server.client() as client:
        user, feature = subscriber(client, LARGEST)
    assert await caller.value("canUse", user, feature, LARGEST) is True
    assert await caller.value("useFeature", user, feature, LARGEST) is True
    assert await caller.value("canUse", user, feature) is False
    assert await caller.value("useFeature", user, feature) is False
    answer = await caller.value("canUseDetails", user, feature)
    consumption = answer.pop("consumption")
    assert answer.pop("retryAfterMs") > 0
    assert answer == {
        "access": False,
        "reason": "BUDGET_EXCEEDED",
        "featureId": feature,
        "source": "STORE",
        "onUnavailable": "DENY",
        "failure": None,
    }
    assert (consumption["used"], consumption["budget"], consumption["remaining"]) == (LARGEST, LARGEST, 0)
    assert consumption["periodStart"] < consumption["resetsAt"]


async def test_an_event_counts_once_by_its_id(caller: Caller, server: AuthenticatedServer) -> None:
    with server.client() as client:
        user, feature = subscriber(client, 5)
    event_id, options = unique("event"), {"metadata": {"job": "1"}}
    first = await caller.value("useFeatureDetails", user, feature, 2, {"eventId": event_id, **options})
    again = await caller.value("useFeatureDetails", user, feature, 2, {"eventId": event_id, **options})
    assert (first["eventId"], first["replayed"], again["replayed"]) == (event_id, False, True)
    reused = await caller.error("createUsageEvent", user, feature, 2, {"eventId": event_id})
    assert (reused["code"], reused["reason"], reused["eventId"]) == ("ALREADY_EXISTS", "EVENT_ID_REUSED", event_id)
    assert await caller.value("createUsageEvent", user, feature) is True
    taken_back = await caller.value("createUsageEventDetails", user, feature, -1)
    assert (taken_back["appliedDelta"], taken_back["consumption"]["used"]) == (-1, 2)
    assert await caller.value("createUsageEvent", user, feature, 4, {"action": "SET"}) is True
    assert counts(server, user, feature) == (4, 0)


async def test_errors_name_the_reason_and_the_field_as_the_program_does(caller: Caller) -> None:
    unknown = await caller.error("canUse", unique(), unique())
    assert (unknown["name"], unknown["code"], unknown["reason"]) == ("CanuseError", "NOT_FOUND", "FEATURE_NOT_FOUND")
    assert unknown["message"].endswith("does not exist (FEATURE_NOT_FOUND)")
    empty = await caller.error("useFeature", "", "")
    assert (empty["code"], empty["reason"], empty["field"]) == ("INVALID_ARGUMENT", "INVALID_FIELD", "userId")
    assert [each["field"] for each in empty["violations"]] == ["userId", "featureId"]
    assert empty["message"].startswith("userId: must be 1 to 128 bytes")
    assert "; featureId: must be 1 to 128 bytes" in empty["message"]
    stream = await caller.error("migrate", unique())
    assert (stream["name"], stream["reason"]) == ("CanuseError", "PACKAGE_NOT_FOUND")


INVALID: list[tuple[list[Any], str, str]] = [
    (["canUse", 124, "f"], "userId", "124 of type number is not accepted; expected a string"),
    (["canUse", "u"], "featureId", "undefined of type undefined"),
    (["useFeature", "u", "f", 2.5], "delta", "2.5 of type number is not accepted; expected an integer"),
    (["useFeature", "u", "f", 2**53], "delta", "9007199254740992 of type number"),
    (["useFeature", "u", "f", "3"], "delta", '"3" of type string'),
    (["useFeature", "u", "f", 1, {"metadata": {"job": 1}}], "metadata", 'map entry "job": expected string, got 1'),
    (["ensureUser", "u", {"name": 5}], "name", "expected string, got 5"),
    (["createUsageEvent", "u", "f", 1, {"action": "ADD_"}], "action", "expected 'ADD' or 'SET'"),
    (["reserve", "u", "f", 1, {"ttlMs": "1s"}], "ttlMs", "expected a number of milliseconds"),
    (["canUse", "u", "f", 1, {"timeoutMs": 0}], "timeoutMs", "expected a number of milliseconds above 0"),
    (["open", {"url": "127.0.0.1:50052"}], "url", "expected the address of the server's HTTP port"),
    (["open", {"timeoutMs": -1}], "timeoutMs", "-1 of type number"),
    (["open", {"apiKey": "sk_live_x\n"}], "apiKey", "expected ASCII without spaces"),
    (["open", {"apiKey": "a", "userToken": "b"}], "userToken", "no apiKey beside it"),
    (["open", {"retry": {"budget": 1.5}}], "retry.budget", "1.5 of type number"),
    (["open", {"unavailable": {"f": "no"}}], 'unavailable["f"]', "expected 'deny', 'allow', 'lastKnown' or 'raise'"),
    (["open", {"unavailableDefault": "toString"}], "unavailableDefault", '"toString" of type string'),
    (["open", {"durability": "disk"}], "durability", "expected 'fsync' or 'replica'"),
]


async def test_what_cannot_be_sent_is_named(node: Caller) -> None:
    await node.open()
    for call, field, text in INVALID:
        error = await node.error(*call)
        assert (error["name"], error["code"], error["field"]) == ("CanuseError", "INVALID_ARGUMENT", field)
        assert error["message"].startswith(f"{field}: ")
        assert text in error["message"]
        assert "sk_live" not in error["message"]


async def test_entitlements_come_in_one_call_by_feature_or_as_a_list(
    caller: Caller, server: AuthenticatedServer
) -> None:
    with server.client() as client:
        features = sorted(consumable(client) for _ in range(3))
        user = unique("user")
        client.create_user(user)
        client.subscribe(user, [package(client, [v1.PackageFeature(feature_id=each, limit=1) for each in features])])
        locked = consumable(client)
        other = package(client, [v1.PackageFeature(feature_id=locked, limit=1)])
    own = await caller.value("entitlements", user)
    assert [(feature_id, each["access"]) for feature_id, each in own] == [(each, True) for each in features]
    everything = dict(await caller.value("entitlements", user, {"includeLocked": True}))
    assert (everything[locked]["access"], everything[locked]["packageIds"]) == (False, [other])
    assert await caller.value("list", user, 2) == features


async def test_usage_is_shown_with_its_sources(caller: Caller, server: AuthenticatedServer) -> None:
    with server.client() as client:
        user, feature = subscriber(client, 5)
        client.create_usage_event(user, feature, 2)
    shown = await caller.value("showUsage", user, feature)
    assert (shown["current"]["used"], shown["current"]["remaining"], shown["past"]) == (2, 3, [])
    [source] = shown["sources"]
    assert (source["amount"], source["left"], source["grantId"]) == (5, 3, "")


async def test_a_lease_is_reserved_extended_and_settled(caller: Caller, server: AuthenticatedServer) -> None:
    with server.client() as client:
        user, feature = subscriber(client, 5)
    lease = await caller.value("reserve", user, feature, 9, {"minAmount": 2, "ttlMs": 90_500})
    assert (lease["granted"], lease["access"], counts(server, user, feature)) == (5, True, (0, 5))
    refused = await caller.value("reserve", user, feature, 1)
    assert (refused["access"], refused["leaseId"], refused["expiresAt"]) == (False, None, None)
    extended = await caller.value("extendLease", lease["leaseId"], {"ttlMs": 3_600_000})
    assert extended["extended"] is True
    assert extended["expiresAt"] > lease["expiresAt"]
    part = await caller.value("settle", lease["leaseId"], 1, {"final": False})
    assert (part["recorded"], counts(server, user, feature)) == (True, (1, 4))
    assert (await caller.value("settle", lease["leaseId"], 2))["consumption"]["used"] == 3
    assert counts(server, user, feature) == (3, 0)


async def test_work_reserves_before_it_and_records_after_it(caller: Caller, server: AuthenticatedServer) -> None:
    with server.client() as client:
        user, feature = subscriber(client, 10)
        inside = {"calls": ["canUseDetails", user, feature]}
        done = await caller.value("using", user, feature, 3, inside)
        consumption = done["use"]["inside"]["value"]["consumption"]
        assert (done["result"], consumption["used"], consumption["reserved"]) == ("done", 0, 3)
        assert counts(server, user, feature) == (3, 0)
        [event] = client.list_usage_events(user)
        assert (event.event_id, event.delta) == (done["use"]["eventId"], 3)
        assert (await caller.error("using", user, feature, 3, {"fails": "no paper"}))["message"] == "no paper"
        assert counts(server, user, feature) == (3, 0)
        await caller.value("using", user, feature, 1, {"delta": 4})
        await caller.value("using", user, feature, 1, {"delta": 0})
        assert counts(server, user, feature) == (7, 0)
        denied = await caller.error("using", user, feature, 4, {}, {"featureName": "messages"})
        assert denied["name"] == "AccessDenied"
        assert denied["message"].startswith("You have 3 messages left, which is not enough. You get more on 20")
        assert denied["answer"]["reason"] == "BUDGET_EXCEEDED"
        # As if the lease had expired long ago.
        gone = await caller.run("using", user, feature, 2, {"calls": ["settleOpenLeases", user]})
        assert "value" in gone
    assert counts(server, user, feature) == (9, 0)


async def test_a_binary_feature_is_only_checked(caller: Caller, server: AuthenticatedServer) -> None:
    with server.client() as client:
        feature, user = binary(client), unique("user")
        client.create_user(user)
        denied = await caller.error("using", user, feature, 1, {}, {"featureName": "single sign-on"})
        assert denied["message"] == "Your plan does not include single sign-on."
        client.subscribe(user, [package(client, [v1.PackageFeature(feature_id=feature)])])
    done = await caller.value("using", user, feature, 1, {})
    assert (done["use"]["answer"]["reason"], "leaseId" in done["use"]["answer"]) == ("INCLUDED", False)


async def test_a_user_signs_up_and_changes_the_package(caller: Caller, server: AuthenticatedServer) -> None:
    with server.client() as client:
        feature, user = consumable(client), unique("user")
        small, large = (package(client, [v1.PackageFeature(feature_id=feature, limit=limit)]) for limit in (1, 2))
        created = await caller.value("ensureUser", user, {"billingId": "cus_1", "name": "Ada", "packageId": small})
        again = await caller.value("ensureUser", user, {"name": "", "packageId": small})
        assert (created["created"], created["subscribed"], again["created"], again["updated"]) == (
            True,
            True,
            False,
            True,
        )
        stored = client.get_user(user)
        assert (stored.billing_id, stored.name) == ("cus_1", "")
        changed = await caller.value("changePackage", user, large)
        assert (changed["changed"], len(changed["replaced"])) == (True, 1)
        assert await caller.value("canUse", user, feature, 2) is True


async def test_every_answer_has_all_fields_of_its_message(node: Caller, server: AuthenticatedServer) -> None:
    with server.client() as client:
        user, feature = subscriber(client, 5)
    await node.open(url=server.canuse.http_url, apiKey=server.admin, timeoutMs=60_000)
    lease = await node.value("reserve", user, feature, 1)
    answers = {
        "CanUseResponse": await node.value("canUseDetails", user, feature),
        "UseFeatureResponse": await node.value("useFeatureDetails", user, feature),
        "CreateUsageEventResponse": await node.value("createUsageEventDetails", user, feature),
        "ReserveResponse": lease,
        "ExtendLeaseResponse": await node.value("extendLease", lease["leaseId"], {"ttlMs": 60_000}),
        "SettleResponse": await node.value("settle", lease["leaseId"], 1),
        "Entitlement": (await node.value("entitlements", user))[0][1],
        "ShowUsageResponse": await node.value("showUsage", user, feature),
    }
    answers["Consumption"] = answers["CanUseResponse"]["consumption"]
    answers["SourceBalance"] = answers["ShowUsageResponse"]["sources"][0]
    for name, answer in answers.items():
        # Lengths of time have their unit in the name. Only debugging needs explanations: `service` has them.
        fields = {each.json_name for each in v1.__dict__[name].DESCRIPTOR.fields} - {"explanation"}
        fields = {"retryAfterMs" if field == "retryAfter" else field for field in fields}
        assert fields <= answer.keys(), name


@OVER_HTTP
async def test_a_page_asks_with_a_token_of_its_user_or_a_publishable_key(
    caller: Caller, server: AuthenticatedServer
) -> None:
    with server.client() as client:
        user, feature = subscriber(client, 5)
    token = (await caller.value("generateUserToken", user, {"ttlMs": 120_000}))["token"]
    await caller.open(apiKey=server.publishable_key())
    assert await caller.value("canUse", user, feature) is True
    assert [each for each, _ in await caller.value("entitlements", user)] == [feature]
    assert (await caller.error("useFeature", user, feature))["reason"] == "SECRET_KEY_NEEDED"
    await caller.open(apiKey=None, userToken=token)
    assert await caller.value("canUse", user, feature) is True
    assert (await caller.error("canUse", unique(), feature))["reason"] == "USER_MISMATCH"
    assert (await caller.error("createUsageEvent", user, feature))["reason"] == "SECRET_KEY_NEEDED"
    await caller.run("openWithTokens", {"url": server.canuse.http_url}, ["utk_expired", token])
    assert (await caller.error("canUse", user, feature))["code"] == "UNAUTHENTICATED"
    assert await caller.value("canUse", user, feature) is True


async def test_a_client_asks_for_the_durability_that_its_caller_needs(
    caller: Caller, server: AuthenticatedServer
) -> None:
    with server.client() as client:
        user, feature = subscriber(client, 5)
    await caller.open(durability="replica", retry=False)
    # The store has no replica.
    assert (await caller.error("useFeature", user, feature))["reason"] == "OUTCOME_UNKNOWN"
    assert counts(server, user, feature) == (1, 0)


async def test_a_client_in_node_takes_its_settings_from_the_environment(
    npm: Npm, programs: Path, server: AuthenticatedServer
) -> None:
    with server.client() as client:
        user, feature = subscriber(client, 5)
    env = {**os.environ, "CANUSE_URL": server.canuse.http_url, "CANUSE_API_KEY": server.admin}
    async with node_caller(programs / "client_node.js", env) as caller:
        await caller.open()
        assert await caller.value("useFeature", user, feature) is True
    with server.client() as client:
        assert used(client, user, feature) == 1


def test_a_bundle_for_a_page_reads_no_environment_and_needs_an_address(npm: Npm, programs: Path, site: Site) -> None:
    bundles = {}
    for platform in ("browser", "node"):
        entry = programs / f"environment_{platform}.ts"
        entry.write_text('import { Canuse } from "canuse"; new Canuse();', encoding="utf-8")
        bundles[platform] = npm.bundle(entry, programs / "bundle" / f"{platform}.js", platform=platform).read_text()
    assert ["CANUSE_API_KEY" in bundles[platform] for platform in ("browser", "node")] == [False, True]
    assert "CANUSE_URL" not in bundles["browser"]


@pytest.mark.parametrize("caller", ["web"], indirect=True)
async def test_a_client_in_a_page_needs_an_address(caller: Caller) -> None:
    error = await caller.error("open", {})
    assert (error["field"], error["message"].partition(";")[0]) == (
        "url",
        "url: undefined of type undefined is not accepted",
    )
