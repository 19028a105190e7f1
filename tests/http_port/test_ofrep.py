"""OFREP: features as flags, as the protocol has them, and read by the OpenFeature SDK for Python."""

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import httpx
import pytest
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from canuse import NotFound, v1
from canuse_server.transport.http import json_in_steps
from canuse_server.transport.http.calls import OFF_LOOP_BYTES
from canuse_server.transport.http.ofrep import evaluations
from support.authenticated_server import AuthenticatedServer, authenticated_server
from support.in_process import served_in_process
from support.load import running, until
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.relay import server_behind_relay
from support.resources import Clock, binary, consumable, grant, package, subscriber, unique
from support.tools import VALKEY_SERVER

ANY_PORT: Final = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
FLAGS: Final = "/ofrep/v1/evaluate/flags"
DEFAULT_PACKAGE: Final = "free"
JSON: Final = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def canuse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server on the manual clock, where unknown users get a package."""
    env = {**ANY_PORT, "CANUSE_DEFAULT_PACKAGE": DEFAULT_PACKAGE}
    with running(Canuse(tmp_path_factory.mktemp("ofrep"), "--clock", "manual", env=env)) as canuse:
        yield canuse


@pytest.fixture(scope="module")
def clock(canuse: Canuse) -> Iterator[Clock]:
    """The clock of the server."""
    clock = Clock(canuse.address)
    yield clock
    clock.close()


@pytest.fixture(scope="module")
def default_feature(client: Client) -> str:
    """A feature of the default package."""
    feature_id = consumable(client)
    client.create_package(DEFAULT_PACKAGE, [v1.PackageFeature(feature_id=feature_id, limit=5)])
    client.publish_package(DEFAULT_PACKAGE)
    return feature_id


@pytest.fixture(scope="module")
def ids(client: Client) -> tuple[str, str]:
    """A user and a feature of which 5 may be used."""
    return subscriber(client, 5)


def evaluate(http: httpx.Client, user_id: str, feature_id: str) -> dict[str, Any]:
    """Return a flag, evaluated alone."""
    answer = http.post(f"{FLAGS}/{feature_id}", json={"context": {"targetingKey": user_id}})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def evaluate_all(http: httpx.Client, user_id: str, etag: str | None = None) -> httpx.Response:
    """Evaluate all flags, unless the caller has them."""
    headers = {} if etag is None else {"if-none-match": etag}
    return http.post(FLAGS, json={"context": {"targetingKey": user_id}}, headers=headers)


def flags_of(answer: httpx.Response) -> dict[str, dict[str, Any]]:
    """Return the flags of an answer by their keys."""
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"flags"}
    return {flag["key"]: flag for flag in answer.json()["flags"]}


def test_a_flag_says_whether_why_and_how_much(http: httpx.Client, client: Client, ids: tuple[str, str]) -> None:
    user_id, feature_id = ids
    client.create_usage_event(user_id, feature_id, 2)
    resets_at = client.can_use(user_id, feature_id).consumption.resets_at.ToJsonString()
    counts = {"used": 2, "reserved": 0, "budget": 5, "remaining": 3, "resets_at": resets_at}
    assert evaluate(http, user_id, feature_id) == {
        "key": feature_id,
        "value": True,
        "reason": "TARGETING_MATCH",
        "variant": "WITHIN_BUDGET",
        "metadata": counts,
    }
    client.create_usage_event(user_id, feature_id, 4)
    assert evaluate(http, user_id, feature_id) == {
        "key": feature_id,
        "value": False,
        "reason": "TARGETING_MATCH",
        "variant": "BUDGET_EXCEEDED",
        "metadata": {**counts, "used": 6, "remaining": 0},
    }


def test_one_flag_and_all_flags_and_the_api_agree_for_every_reason(
    http: httpx.Client, client: Client, clock: Clock
) -> None:
    user_id, locked = unique("user"), consumable(client)
    within, exceeded, unlimited, overage = (consumable(client) for _ in range(4))
    switch, archived, later = binary(client), binary(client), consumable(client)
    entries = [
        v1.PackageFeature(feature_id=within, limit=1),
        v1.PackageFeature(feature_id=exceeded, limit=0),
        v1.PackageFeature(feature_id=unlimited),
        v1.PackageFeature(feature_id=overage, limit=0, overage_enabled=True),
        v1.PackageFeature(feature_id=switch),
        v1.PackageFeature(feature_id=archived),
    ]
    client.create_user(user_id)
    client.subscribe(user_id, [package(client, entries)])
    grant(client, user_id, later, 1, effective_at=clock.now() + timedelta(days=9))
    client.archive_feature(archived)
    disabled, of_disabled = subscriber(client, 5)
    client.update_user(disabled, disabled=True)
    asked = {
        (user_id, within): ("WITHIN_BUDGET", True, "TARGETING_MATCH"),
        (user_id, exceeded): ("BUDGET_EXCEEDED", False, "TARGETING_MATCH"),
        (user_id, unlimited): ("UNLIMITED", True, "TARGETING_MATCH"),
        (user_id, overage): ("OVERAGE", True, "TARGETING_MATCH"),
        (user_id, switch): ("INCLUDED", True, "TARGETING_MATCH"),
        (user_id, archived): ("FEATURE_ARCHIVED", False, "DISABLED"),
        (user_id, later): ("SUBSCRIPTION_INACTIVE", False, "TARGETING_MATCH"),
        (user_id, locked): ("NOT_ENTITLED", False, "TARGETING_MATCH"),
        (disabled, of_disabled): ("USER_DISABLED", False, "TARGETING_MATCH"),
    }
    assert {f"REASON_{variant}" for variant, *_ in asked.values()} == {*v1.Reason.keys()} - {
        "REASON_UNSPECIFIED",
        "REASON_STORE_UNAVAILABLE",
    }
    found = {user: flags_of(evaluate_all(http, user)) for user in (user_id, disabled)}
    for (user, feature_id), (variant, value, reason) in asked.items():
        alone = evaluate(http, user, feature_id)
        assert (alone["variant"], alone["value"], alone["reason"]) == (variant, value, reason)
        assert found[user][feature_id] == alone
        answer = client.can_use(user, feature_id)
        assert (answer.access, v1.Reason.Name(answer.reason)) == (value, f"REASON_{variant}")
        assert ("metadata" in alone) == answer.HasField("consumption")
    # A feature that nobody can use any more is shown only to whom it was given.
    assert archived not in found[disabled]


WRONG: Final[dict[str, tuple[str, str, str]]] = {
    "no context": ("{}", "TARGETING_KEY_MISSING", "context.targetingKey: must be the id of a user; nothing was sent"),
    "null": ('{"context": null}', "TARGETING_KEY_MISSING", "context.targetingKey: "),
    "no key": ('{"context": {"email": "a@b"}}', "TARGETING_KEY_MISSING", "context.targetingKey: "),
    "an empty key": ('{"context": {"targetingKey": ""}}', "TARGETING_KEY_MISSING", "context.targetingKey: "),
    "a list": ('{"context": []}', "INVALID_CONTEXT", "context: must be an object; a list was sent"),
    "a number": ('{"context": {"targetingKey": 124}}', "INVALID_CONTEXT", "must be a string; 124 was sent"),
    "half a character": ('{"context": {"targetingKey": "\\ud800"}}', "INVALID_CONTEXT", "must be a string"),
    "a control character": (
        '{"context": {"targetingKey": "\\u0000"}}',
        "INVALID_CONTEXT",
        "context.targetingKey: must be 1 to 128 bytes",
    ),
    "a long key": (json.dumps({"context": {"targetingKey": "x" * 129}}), "INVALID_CONTEXT", "must be 1 to 128 bytes"),
    "a key twice": ('{"context": {"targetingKey": "a", "targetingKey": "b"}}', "PARSE_ERROR", "it was sent twice"),
    "broken JSON": ('{"context": {}', "PARSE_ERROR", "no JSON (line 1, column"),
    "nothing": ("", "PARSE_ERROR", "nothing was sent"),
    "no object": ("[]", "PARSE_ERROR", "a list was sent"),
    "many levels": ("[" * 60_000, "PARSE_ERROR", "too many levels"),
    "100 KiB": (json.dumps({"context": {"targetingKey": "a", "more": "x" * 100_000}}), "PARSE_ERROR", "at most 65536"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_error_has_a_code_and_says_what_is_wrong(http: httpx.Client, ids: tuple[str, str], case: str) -> None:
    body, code, details = WRONG[case]
    for path, key in ((FLAGS, {}), (f"{FLAGS}/{ids[1]}", {"key": ids[1]})):
        refused = http.post(path, content=body, headers=JSON)
        error = refused.json()
        assert refused.status_code == 400
        assert details in error.pop("errorDetails")
        assert error == {**key, "errorCode": code}


def test_an_unknown_flag_is_not_found_whatever_its_key(http: httpx.Client, ids: tuple[str, str]) -> None:
    for key in ("unknown", "a/b", "%F0%9F%98%80", "x" * 129, "%00", ""):
        refused = http.post(f"{FLAGS}/{key}", json={"context": {"targetingKey": ids[0]}})
        assert (refused.status_code, refused.json()["errorCode"]) == (404, "FLAG_NOT_FOUND")
        assert refused.json()["errorDetails"]


def test_a_key_may_have_any_character(http: httpx.Client, client: Client, ids: tuple[str, str]) -> None:
    key = f"{unique()}/ü?%"
    client.create_feature(key, type=v1.FEATURE_TYPE_BINARY)
    answer = http.post(
        f"{FLAGS}/{key.replace('%', '%25').replace('?', '%3F')}", json={"context": {"targetingKey": ids[0]}}
    )
    assert (answer.status_code, answer.json()["key"]) == (200, key)


def test_what_is_no_evaluation_is_told_so_too(http: httpx.Client, ids: tuple[str, str]) -> None:
    body = json.dumps({"context": {"targetingKey": ids[0]}})
    for path in (FLAGS, f"{FLAGS}/{ids[1]}"):
        read = http.get(path)
        assert (read.status_code, read.headers["allow"], read.json()["errorCode"]) == (405, "POST", "GENERAL")
        text = http.post(path, content=body, headers={"content-type": "text/plain"})
        assert (text.status_code, text.json()["errorCode"]) == (415, "GENERAL")
        packed = http.post(path, content=body, headers={**JSON, "content-encoding": "gzip"})
        assert (packed.status_code, packed.json()["errorCode"]) == (501, "GENERAL")
        assert read.json()["errorDetails"]
        assert text.json()["errorDetails"]


def test_an_evaluation_creates_no_user_also_where_a_first_call_does(
    http: httpx.Client, client: Client, default_feature: str
) -> None:
    user_id = unique("user")
    context = {"context": {"targetingKey": user_id}}
    for path in (FLAGS, f"{FLAGS}/{default_feature}"):
        refused = http.post(path, json=context)
        assert (refused.status_code, refused.json()["errorCode"]) == (400, "INVALID_CONTEXT")
        assert refused.json()["errorDetails"] == f"user {user_id!r} does not exist"
    with pytest.raises(NotFound):
        client.get_user(user_id)
    assert client.can_use(user_id, default_feature).access
    assert evaluate(http, user_id, default_feature)["value"]


def test_the_etag_changes_with_all_that_is_shown_and_with_nothing_else(
    http: httpx.Client, client: Client, clock: Clock
) -> None:
    user_id, feature_id = subscriber(client, 5)
    lease: list[str] = []
    shown: dict[str, Callable[[], object]] = {
        "a use": lambda: client.create_usage_event(user_id, feature_id),
        "a lease": lambda: lease.append(client.reserve(user_id, feature_id, 2).lease_id),
        "no lease": lambda: client.settle(lease[0], 0),
        "a grant": lambda: grant(client, user_id, feature_id, 7),
        "a new feature": lambda: binary(client),
        "the last use": lambda: client.create_usage_event(user_id, feature_id, 11),
        "a new period": lambda: clock.advance(days=31),
        "an archived feature": lambda: client.archive_feature(feature_id),
        "a disabled user": lambda: client.update_user(user_id, disabled=True),
    }
    not_shown: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "a name": lambda: client.update_user(user_id, name="Ada"),
        "time": lambda: clock.advance(seconds=5),
        "a use by another": lambda: client.create_usage_event(*subscribed_too, 1),
    }
    other = unique("user")
    client.create_user(other)
    grant(client, other, feature_id, 100)
    subscribed_too = (other, feature_id)
    for name, change in (*shown.items(), *not_shown.items()):
        before = evaluate_all(http, user_id)
        etag = before.headers["etag"]
        change()
        after = evaluate_all(http, user_id, etag)
        if name in shown:
            assert after.status_code == 200, name
            assert after.headers["etag"] != etag, name
            assert after.json() != before.json(), name
        else:
            assert (after.status_code, after.content, after.headers["etag"]) == (304, b"", etag), name
            assert "content-type" not in after.headers


def test_an_etag_is_known_in_every_form_that_a_caller_may_send(http: httpx.Client, ids: tuple[str, str]) -> None:
    etag = evaluate_all(http, ids[0]).headers["etag"]
    assert etag[0] == etag[-1] == '"'
    for known in (f"W/{etag}", f'"other", {etag}', f'{etag},"other"'):
        assert evaluate_all(http, ids[0], known).status_code == 304
    for unknown in ("", "*", '"other"', etag[:-2] + '"', etag.lower() + "x"):
        assert evaluate_all(http, ids[0], unknown).status_code == 200


def test_more_flags_than_a_page_of_the_api_has(http: httpx.Client, client: Client, ids: tuple[str, str]) -> None:
    prefix = unique("many")
    features = [v1.Feature(id=f"{prefix}-{number:04}", type=v1.FEATURE_TYPE_BINARY) for number in range(1050)]
    client.apply_catalog(features)
    answer = evaluate_all(http, ids[0])
    assert {feature.id for feature in features} | {ids[1]} <= flags_of(answer).keys()
    assert evaluate_all(http, ids[0], answer.headers["etag"]).status_code == 304
    client.archive_feature(features[-1].id)
    assert evaluate_all(http, ids[0], answer.headers["etag"]).status_code == 200


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[RedisServer]:
    store = RedisServer(VALKEY_SERVER, tmp_path / "store").start()
    yield store
    store.stop()


async def test_many_flags_are_written_and_hashed_beside_the_event_loop(
    own_store: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10,000 flags blocked all other calls for 0.1 seconds."""
    taken: list[None] = []
    sizes: list[int] = []
    sizes_elsewhere: list[int] = []

    def dumps(*args: Any, **more: Any) -> str:
        text = json_in_steps.dumps(*args, **more)
        note(text)
        return text

    def blake2b(body: bytes, **more: Any) -> Any:
        note(body)
        return hashlib.blake2b(body, **more)

    def note(content: str | bytes) -> None:
        if threading.current_thread() is threading.main_thread():
            sizes.append(len(content))
        else:
            sizes_elsewhere.append(len(content))

    monkeypatch.setattr(evaluations, "dumps", dumps)
    monkeypatch.setattr(evaluations, "pause_if_due", lambda: taken.append(None))
    monkeypatch.setattr(evaluations, "hashlib", SimpleNamespace(blake2b=blake2b))
    async with served_in_process("grpcio", own_store.url, http_listen="127.0.0.1:0", ops_listen="") as ready:
        assert ready.http is not None
        features = [{"id": f"feature-{number:04}", "type": "FEATURE_TYPE_BINARY"} for number in range(1050)]
        async with httpx.AsyncClient(base_url=ready.http, timeout=60) as http:
            created = await http.post("/canuse.v1.CatalogService/ApplyCatalog", json={"features": features})
            user_id = unique("user")
            user = await http.post("/canuse.v1.UserService/CreateUser", json={"user": {"id": user_id}})
            answer = await http.post(FLAGS, json={"context": {"targetingKey": user_id}})
    assert created.status_code == user.status_code == 200
    assert [flag["key"] for flag in answer.json()["flags"]] == [feature["id"] for feature in features]
    assert len(answer.content) in sizes_elsewhere
    assert len(taken) == len(features)
    assert max(sizes, default=0) < OFF_LOOP_BYTES


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that demands keys, and reads one request at a time."""
    env = {**ANY_PORT, "CANUSE_MAX_CALLS_IN_FLIGHT": "1"}
    with authenticated_server(Canuse(tmp_path_factory.mktemp("guarded"), env=env)) as server:
        yield server


def test_an_evaluation_needs_the_scope_of_a_check(guarded: AuthenticatedServer) -> None:
    reader, writer = guarded.key(["entitlements:read"]).secret, guarded.key(["usage:write"]).secret
    with guarded.client() as client:
        user_id, feature_id = subscriber(client, 5)
    for path in (FLAGS, f"{FLAGS}/{feature_id}"):
        for secret, status in ((None, 401), ("sk_live_" + "a" * 43, 401), (writer, 403), (reader, 200)):
            headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
            body = {"context": {"targetingKey": user_id}}
            answer = httpx.post(guarded.canuse.http_url + path, json=body, headers=headers)
            assert answer.status_code == status
            if status != 200:
                assert answer.json()["errorCode"] == "GENERAL"
                assert answer.json()["errorDetails"]
                assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    test_key = guarded.key(["entitlements:read"], v1.ENVIRONMENT_TEST).secret
    elsewhere = httpx.post(
        f"{guarded.canuse.http_url}{FLAGS}/{feature_id}",
        json={"context": {"targetingKey": user_id}},
        headers={"authorization": f"Bearer {test_key}"},
    )
    assert elsewhere.json()["errorCode"] in ("INVALID_CONTEXT", "FLAG_NOT_FOUND")


def test_who_calls_too_often_is_told_when_to_come_back(guarded: AuthenticatedServer) -> None:
    secret = guarded.key(["entitlements:read"]).secret
    address = httpx.URL(guarded.canuse.http_url)
    head = f"POST {FLAGS} HTTP/1.1\r\nHost: {address.host}\r\nAuthorization: Bearer {secret}\r\n"
    with socket.create_connection((address.host, address.port)) as slow, httpx.Client(base_url=address) as http:
        slow.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 9\r\n\r\n".encode())

        def refused() -> bool:
            headers = {"authorization": f"Bearer {secret}"}
            answer = http.post(FLAGS, json={"context": {"targetingKey": "a"}}, headers=headers)
            if answer.status_code != 429:
                return False
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["errorCode"] == "GENERAL"
            return True

        until(refused)


async def test_without_the_store_a_flag_is_what_the_feature_says_and_all_flags_are_unavailable(
    tmp_path: Path, redis: RedisServer
) -> None:
    env = {"CANUSE_STORE_TIMEOUT_SECONDS": "1", **ANY_PORT}
    async with (
        server_behind_relay("grpcio", tmp_path, redis, **env) as (canuse, relay),
        httpx.AsyncClient(base_url=canuse.http_url, timeout=60) as http,
    ):
        feature = {"id": unique("feature"), "type": "FEATURE_TYPE_BINARY", "onUnavailable": "ON_UNAVAILABLE_ALLOW"}
        created = await http.post("/canuse.v1.CatalogService/CreateFeature", json={"feature": feature})
        assert created.status_code == 200
        relay.hold_replies()
        body = {"context": {"targetingKey": "somebody"}}
        one, every = await http.post(f"{FLAGS}/{feature['id']}", json=body), await http.post(FLAGS, json=body)
        relay.release()
        assert one.json() == {
            "key": feature["id"],
            "value": True,
            "reason": "UNKNOWN",
            "variant": "STORE_UNAVAILABLE",
        }
        assert (every.status_code, every.json()["errorCode"]) == (503, "GENERAL")


def test_the_openfeature_sdk_for_python_reads_flags(canuse: Canuse, client: Client, clock: Clock) -> None:
    user_id, feature_id = subscriber(client, 1)
    api.set_provider_and_wait(OFREPProvider(canuse.http_url))
    try:
        flags = api.get_client()
        context = EvaluationContext(user_id, {"email": "ada@example.com"})
        details = flags.get_boolean_details(feature_id, False, context)
        assert (details.value, details.variant, details.reason) == (True, "WITHIN_BUDGET", Reason.TARGETING_MATCH)
        assert details.flag_metadata["remaining"] == 1
        client.create_usage_event(user_id, feature_id)
        details = flags.get_boolean_details(feature_id, True, context)
        assert (details.value, details.variant, details.flag_metadata["used"]) == (False, "BUDGET_EXCEEDED", 1)
        clock.advance(days=31)
        assert flags.get_boolean_value(feature_id, False, context)
        cases: list[tuple[str, EvaluationContext | None, ErrorCode]] = [
            (feature_id, None, ErrorCode.TARGETING_KEY_MISSING),
            (feature_id, EvaluationContext("nobody"), ErrorCode.INVALID_CONTEXT),
            ("unknown", EvaluationContext(user_id), ErrorCode.FLAG_NOT_FOUND),
        ]
        for asked, wrong, code in cases:
            details = flags.get_boolean_details(asked, True, wrong)
            assert (details.value, details.error_code) == (True, code)
            assert details.error_message
    finally:
        api.shutdown()
